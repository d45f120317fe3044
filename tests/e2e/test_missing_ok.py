"""What migrations take away can be taken away twice."""

import psycopg
import pytest


def notices(person, statement):
    heard = []
    listen = lambda notice: heard.append((notice.severity, notice.message_primary))
    person.connection.add_notice_handler(listen)
    person.run(statement)
    person.connection.remove_notice_handler(listen)
    return heard


@pytest.fixture
def ann(db, people, receiver):
    ann = people("ann", "member")
    ann.run("CREATE TABLE things (id int); CREATE TABLE others (id int)")
    ann.run("SELECT webhook_create('hook', %s, 'things')", receiver.url("/"))
    return ann


DELETE = "SELECT webhook_delete('hook', missing_ok => true)"
UNWATCH = "SELECT webhook_unwatch('hook', 'things', missing_ok => true)"


def test_a_webhook_is_deleted_twice(ann):
    assert notices(ann, DELETE) == []
    assert notices(ann, DELETE) == [("NOTICE", 'webhook "hook" does not exist, skipping')]
    with pytest.raises(psycopg.errors.UndefinedObject):
        ann.run("SELECT webhook_delete('hook')")


def test_a_table_is_unwatched_twice(ann):
    assert notices(ann, UNWATCH) == []
    [(severity, message)] = notices(ann, UNWATCH)
    assert severity == "NOTICE" and message.endswith(", skipping") and "things" in message
    ann.run("DROP TABLE others")
    assert notices(ann, "SELECT webhook_unwatch('hook', to_regclass('others'), true)") == [("NOTICE", "the table does not exist, skipping")]
    ann.run(DELETE)
    assert notices(ann, UNWATCH) == [("NOTICE", 'webhook "hook" does not exist, skipping')]


def test_what_belongs_to_others_is_missing_and_stays(ann, people):
    bob = people("bob", "member")
    assert notices(bob, DELETE) == [("NOTICE", 'webhook "hook" does not exist, skipping')]
    assert ann.value("SELECT count(*) FROM webhook.webhooks") == 1


def test_other_errors_are_errors(ann):
    for call in ("webhook_delete(NULL, missing_ok => true)", "webhook_delete('hook', NULL)", "webhook_unwatch('hook', NULL)"):
        with pytest.raises(psycopg.errors.NullValueNotAllowed):
            ann.run(f"SELECT {call}")
