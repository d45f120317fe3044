"""A webhook is changed by one session while another captures, emits or replays for it: neither waits for the other, and
each event is made by one definition, the one before or the one after."""

import concurrent.futures
import json

import psycopg
import pytest

from harness import wait_until

URL = "http://127.0.0.1:9/"
#: Longer than the other session takes, which is made sure of.
SLOW = "PERFORM pg_catalog.pg_sleep(1.5);"


@pytest.fixture
def owner(people):
    """A member with a table, a transform that takes its time, and another one."""
    person = people("own", "member")
    person.run("CREATE TABLE things (id int, note text); GRANT INSERT ON things TO PUBLIC")
    for name, body in (("slow", SLOW), ("quick", "")):
        person.run(
            f"CREATE FUNCTION {name}(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS"
            f" $$BEGIN {body} RETURN jsonb_build_object('by', '{name}'); END$$"
        )
    person.run("SELECT webhook_create('hook', %s, 'things', '{INSERT,a.*}', transform => 'slow(jsonb)')", URL)
    person.run("SELECT webhook_pause('hook')")
    return person


def by(db):
    return [json.loads(body).get("by") for (body,) in db.rows("SELECT payload FROM webhook.event ORDER BY id")]


def meanwhile(db, person, statement, other, *changes, patient=False):
    """Run a statement and, while its transform sleeps, the changes in another session; returns the statement's outcome.
    They do not wait for it, unless they change triggers."""
    pid = person.connection.info.backend_pid
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(outcome, person, statement)
        wait_until(lambda: db.value("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", pid), "the transform")
        other.execute("SET lock_timeout = '1s'")
        for change in changes:
            other.execute(change)
        assert patient or not running.done(), "the changes waited for it"
        return running.result(30)


def outcome(person, statement):
    try:
        return person.value(statement)
    except psycopg.Error as error:
        return error.sqlstate


@pytest.fixture
def second(cluster, db, owner):
    """Another session of the owner's."""
    with cluster.connect(db.name, user=owner.role) as connection:
        yield connection


def until_it_waits(db, session):
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"
    wait_until(lambda: db.value(waits, session.connection.info.backend_pid), "the second to wait")


#: What makes an event; a replay is one of a dead letter, whose body has to be transformed first.
CALLS = {
    "capture": "INSERT INTO {own}.things VALUES (1, 'a') RETURNING 1",
    "emit": "SELECT webhook_emit('a.b', '{{}}')",
    "invoke": "SELECT webhook_invoke('hook', ROW(1)) > 0",
    "replay": "SELECT webhook_replay(max(id)) > 0 FROM webhook.dead_letters",
}


def ready(db, owner, call):
    """Where it is a replay, there is a dead letter."""
    if call == "replay":
        owner.run("CREATE FUNCTION fails(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'")
        owner.run("SELECT webhook_update('hook', transform => 'fails(jsonb)')")
        owner.run("INSERT INTO things VALUES (0, 'dead')")
        owner.run("SELECT webhook_update('hook', transform => 'slow(jsonb)')")
        assert owner.value("SELECT count(*) FROM webhook.dead_letters") == 1
    return CALLS[call].format(own=owner.role), len(by(db))


@pytest.mark.parametrize("call", CALLS)
def test_another_transform(db, owner, second, call):
    statement, before = ready(db, owner, call)
    assert meanwhile(db, owner, statement, second, "SELECT webhook_update('hook', transform => 'quick(jsonb)')") == 1
    assert by(db)[before:] == ["slow"]
    owner.run("SELECT webhook_emit('a.b', '{}')")
    assert by(db)[before:] == ["slow", "quick"]


@pytest.mark.parametrize("call", CALLS)
def test_the_end_of_the_webhook(db, owner, second, call):
    """What was begun ends, and what comes of it is cancelled with the rest."""
    statement, before = ready(db, owner, call)
    assert meanwhile(db, owner, statement, second, "SELECT webhook_delete('hook')", patient=call == "capture") in (1, "42704")
    assert owner.value("SELECT webhook_emit('a.b', '{}')") == 0
    assert len(by(db)) <= before + 1
    wait_until(
        lambda: db.value("SELECT count(*) FROM webhook.deliveries WHERE status NOT IN ('cancelled', 'dead')") == 0,
        lambda: f"the end of what waits: {db.statuses()}",
    )


@pytest.mark.parametrize("call", CALLS)
def test_every_setting_at_once(db, owner, second, call):
    """Disabled, renamed, sent elsewhere in another format: the next one sees it, and nothing fails."""
    statement, before = ready(db, owner, call)
    assert meanwhile(
        db, owner, statement, second,
        "SELECT webhook_update('hook', name => 'other', url => 'http://127.0.0.1:9/x', format => 'hasura')",
        "SELECT webhook_update('other', enabled => false)", "SELECT webhook_rotate_secret('other')",
    ) == 1
    assert by(db)[before:] == ["slow"]
    owner.run("INSERT INTO things VALUES (2, 'b')")
    assert owner.value("SELECT webhook_emit('a.b', '{}')") == 0
    assert by(db)[before:] == ["slow"]


@pytest.mark.parametrize("change", [
    "SELECT webhook_update('hook', transform => 'quick(jsonb)')", "SELECT webhook_update('hook', transform => '-')",
    "SELECT webhook_update('hook', url => 'http://127.0.0.1:9/x', headers => '{\"x-a\": \"b\"}')",
    "SELECT webhook_rotate_secret('hook')",
    "SELECT webhook_pause('hook')", "SELECT webhook_update('hook', enabled => false)",
])
@pytest.mark.parametrize("call", CALLS)
def test_an_open_change_keeps_nobody_waiting(db, owner, second, call, change):
    """Until its commit the definition before holds."""
    owner.run("CREATE OR REPLACE FUNCTION slow(v jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT '{\"by\": \"slow\"}'::jsonb$$")
    statement, before = ready(db, owner, call)
    owner.run("SET lock_timeout = '1s'")
    with second.transaction(force_rollback=True):
        second.execute(change)
        assert outcome(owner, statement) == 1
    assert by(db)[before:] == ["slow"]


def test_a_transaction_that_is_open_goes_on_with_what_holds_now(db, people, owner, second):
    """A writer that has cached a definition reads it again in the same transaction."""
    owner.run("SELECT webhook_update('hook', transform => 'quick(jsonb)')")
    writer = people("wri")
    insert = f"INSERT INTO {owner.role}.things VALUES (1, 'a')"
    with writer.connection.transaction():
        writer.run(insert)
        second.execute("SELECT webhook_update('hook', transform => '-')")
        writer.run(insert)
        second.execute("SELECT webhook_update('hook', enabled => false)")
        writer.run(insert)
        second.execute("SELECT webhook_update('hook', enabled => true, transform => 'quick(jsonb)')")
        writer.run(insert)
    assert by(db) == ["quick", None, "quick"]


def test_two_sessions_change_one_webhook(db, owner, second):
    """The second waits for the first, and both changes stay."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with second.transaction():
            second.execute("SELECT webhook_update('hook', description => 'first')")
            waiting = pool.submit(outcome, owner, "SELECT webhook_update('hook', timeout_seconds => 7)")
            until_it_waits(db, owner)
        assert waiting.result(30) == ""
    assert owner.rows("SELECT description, timeout_seconds FROM webhook.webhooks") == [("first", 7)]


def test_a_function_that_is_being_dropped_becomes_no_transform(db, owner, second):
    """Whoever is first: then it is not dropped, or else it does not exist."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with second.transaction():
            second.execute("DROP FUNCTION quick(jsonb)")
            waiting = pool.submit(outcome, owner, "SELECT webhook_update('hook', transform => 'quick(jsonb)')")
            try:
                waiting.result(1)
            except concurrent.futures.TimeoutError:
                pass
        assert waiting.result(30) in ("42883", "42704")
    owner.run("INSERT INTO things VALUES (1, 'a')")
    assert by(db) == ["slow"]


def test_a_deleted_webhook_is_not_changed_by_who_waited(db, owner, second):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with second.transaction():
            second.execute("SELECT webhook_delete('hook')")
            waiting = pool.submit(outcome, owner, "SELECT webhook_update('hook', enabled => true)")
            until_it_waits(db, owner)
        assert waiting.result(30) == "42704"
    assert owner.rows("SELECT name FROM webhook.webhooks") == []
