"""In session_replication_role = replica, as a superuser loads data, foreign keys and most triggers do nothing: what is
removed then leaves nothing behind all the same."""

import pytest

TABLES = ("watch", "watch_trigger", "watch_payload")


@pytest.fixture
def watching(db, receiver):
    """A superuser in replica role, and a webhook that watches a table."""
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text); CREATE TABLE others (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", payload_columns=["id"], condition="NEW.id > 0", events=["INSERT"])
    assert left(db) == [1, 1, 1]
    db.run("SET session_replication_role = replica")
    return db


def left(db):
    return [db.value(f"SELECT count(*) FROM webhook.{table}") for table in TABLES]


def test_unwatch(watching):
    watching.run("SELECT webhook_unwatch('hook', 'items')")
    assert left(watching) == [0, 0, 0]


def test_delete(watching):
    watching.run("SELECT webhook_delete('hook')")
    assert left(watching) == [0, 0, 0]
    assert watching.value("SELECT count(*) FROM webhook.secret") == 0


def test_another_table_in_the_place_of_a_dropped_one(watching):
    watching.run("DROP TABLE items")
    watching.run("SELECT webhook_update('hook', table_name => 'others', events => '{INSERT}', payload_columns => '{id}', condition => 'NEW.id > 1')")
    assert left(watching) == [1, 1, 1]


def test_arming_forgets_watches_without_a_webhook(watching):
    watching.run("UPDATE webhook.watch SET webhook = gen_random_uuid()")
    watching.run("SELECT webhook_arm()")
    assert left(watching) == [0, 0, 0]
