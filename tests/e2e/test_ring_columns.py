"""The library writes into tables that another version of it has made: columns are found by name."""

import psycopg
import pytest

URL = "http://127.0.0.1:9/"


@pytest.fixture
def watched(db, writer):
    """A database with a watched table of a role without any level."""
    writer.run("CREATE TABLE t (id int)")
    db.create("hook", URL, table_name=f"{writer.role}.t")
    writer.run("INSERT INTO t VALUES (0)")
    return writer


def written(db):
    return db.rows("SELECT webhook, event_type, payload::json #>> '{record,id}' FROM webhook.event ORDER BY id")


def test_a_column_that_is_not_there_is_left_out(db, watched):
    """In a session that has written before, and at the next change. Under another name it is another column."""
    db.run("ALTER TABLE webhook.event RENAME table_name TO x")
    watched.run("INSERT INTO t VALUES (1)")
    db.run("ALTER TABLE webhook.event RENAME schema_name TO y")
    watched.run("INSERT INTO t VALUES (2), (3)")
    webhook = db.value("SELECT id FROM webhook.webhook")
    assert written(db) == [(webhook, "INSERT", str(number)) for number in range(4)]
    there = db.rows("SELECT x IS NOT NULL, y IS NOT NULL FROM webhook.event ORDER BY id")
    assert there == [(True, True), (False, True), (False, False), (False, False)]


def test_a_column_of_a_later_version_is_null(db, watched):
    db.run("ALTER TABLE webhook.event ADD COLUMN later text")
    watched.run("INSERT INTO t VALUES (1)")
    assert [row[2] for row in written(db)] == ["0", "1"]
    assert db.value("SELECT count(*) FROM webhook.event WHERE later IS NULL") == 2
    db.run("ALTER TABLE webhook.event DROP COLUMN later")
    watched.run("INSERT INTO t VALUES (2)")
    assert [row[2] for row in written(db)] == ["0", "1", "2"]


def test_columns_in_another_order(db, watched):
    db.run("ALTER TABLE webhook.event RENAME schema_name TO x; ALTER TABLE webhook.event RENAME table_name TO schema_name;"
           " ALTER TABLE webhook.event RENAME x TO table_name")
    watched.run("INSERT INTO t VALUES (1)")
    assert db.rows("SELECT schema_name, table_name FROM webhook.event ORDER BY id DESC LIMIT 1") == [(watched.role, "t")]


@pytest.mark.parametrize("change", [
    "RENAME failure TO x", "RENAME payload TO body", "ADD COLUMN must text NOT NULL DEFAULT 'x'",
])
def test_an_event_that_would_not_be_what_it_is_fails_the_write(db, watched, change):
    """A body without the mark that its transform has failed would be sent."""
    db.run(f"ALTER TABLE webhook.event {change}")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="column"):
        watched.run("INSERT INTO t VALUES (1)")
    assert len(db.rows("SELECT FROM webhook.event")) == 1
