"""A migration that has a webhook watch further tables can run twice, and twice at once."""

import threading

import psycopg
import pytest

from test_if_exists import URL, Other, ann, twin  # noqa: F401
from test_missing_ok import notices

TABLES = "SELECT tables FROM webhook.webhooks WHERE name = 'hook'"


@pytest.fixture
def hook(ann):
    ann.run("SELECT webhook_create('hook', %s, 'others')", URL)
    return ann


def watch(person, settings="", if_exists="replace"):
    person.run(f"SELECT webhook_watch('hook', 'things'{settings}, if_exists => '{if_exists}')")


def triggers(db, person):
    """Of things, each with its place, which is another one once it has been replaced."""
    return db.rows("SELECT tgname, oid, ctid FROM pg_trigger WHERE tgrelid = %s::regclass ORDER BY tgname", f"{person.role}.things")


def locked(db, person):
    return db.value(
        "SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'relation' AND mode <> 'AccessShareLock'",
        person.connection.info.backend_pid,
    )


def test_a_table_is_watched_twice(hook, db):
    watch(hook, ", '{INSERT}', condition => 'NEW.id > 1'", "skip")
    before, made = hook.rows(TABLES), triggers(db, hook)
    with pytest.raises(psycopg.errors.DuplicateObject):
        hook.run("SELECT webhook_watch('hook', 'things')")
    with pytest.raises(psycopg.errors.DuplicateObject):
        hook.run("SELECT webhook_watch('hook', 'things', if_exists => NULL)")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is no value of if_exists"):
        watch(hook, if_exists="ignore")
    skipped = "SELECT webhook_watch('hook', 'things', '{DELETE}', if_exists => 'skip')"
    [(severity, message)] = notices(hook, skipped)
    assert severity == "NOTICE" and message.endswith("things, skipping")
    assert (hook.rows(TABLES), triggers(db, hook)) == (before, made)
    # What is refused is so also where it would be skipped.
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        watch(hook, ", '{sometimes}'", "skip")


def test_what_is_watched_becomes_what_it_would_be_if_it_began_now(hook, db):
    everything = ", '{INSERT,UPDATE}', columns => '{id,note}', condition => 'NEW.id > 1', payload_columns => '{id}'"
    watch(hook, everything)
    whole = hook.rows(TABLES)
    watch(hook)
    bare = hook.rows(TABLES)
    assert bare != whole
    hook.run("SELECT webhook_unwatch('hook', 'things'); SELECT webhook_watch('hook', 'things')")
    assert hook.rows(TABLES) == bare
    watch(hook, everything)
    assert hook.rows(TABLES) == whole
    # As it is: nothing is written, and nothing locked.
    made = triggers(db, hook)
    hook.run("BEGIN")
    watch(hook, everything)
    assert locked(db, hook) == 0
    hook.run("COMMIT")
    assert triggers(db, hook) == made
    # What is missing is made again.
    hook.run(f"DROP TRIGGER \"{made[0][0]}\" ON things")
    watch(hook, everything)
    assert [name for name, *_ in triggers(db, hook)] == [name for name, *_ in made]
    assert db.rows("SELECT problem FROM webhook_check('hook') WHERE severity = 'error'") == []


def test_only_what_one_manages_is_watched(hook, people):
    other = people("oth", "member")
    other.run("CREATE TABLE things (id int)")
    for if_exists in ("error", "skip", "replace"):
        with pytest.raises(psycopg.errors.UndefinedObject):
            watch(other, if_exists=if_exists)


@pytest.mark.parametrize("if_exists", ["skip", "replace"])
def test_two_sessions_watch_a_table_at_once(hook, twin, db, if_exists):
    statement = f"SELECT webhook_watch('hook', 'things', '{{INSERT}}', if_exists => '{if_exists}')"
    hook.run("BEGIN")
    hook.run(statement)
    other = Other(db, twin, statement)
    threading.Event().wait(0.2)
    hook.run("COMMIT")
    assert other.end()[0] is None
    assert len(triggers(db, hook)) == 1
    # The first gives up.
    hook.run("SELECT webhook_unwatch('hook', 'things')")
    hook.run("BEGIN")
    hook.run(statement)
    other = Other(db, twin, statement)
    hook.run("ROLLBACK")
    assert other.end()[0] is None
    assert len(triggers(db, hook)) == 1
