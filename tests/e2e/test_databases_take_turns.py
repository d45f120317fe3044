"""More databases with work than places for workers."""

import concurrent.futures
import json
import random
import time

import psycopg
import pytest

from harness import wait_until
from harness.cluster import Database
from harness.databases import answered, arrived, furnish, insert, server_with
from harness.receiver import hang, reply


@pytest.fixture(scope="module")
def crowded():
    """Four databases and one place for a worker, which finds nothing that it is not told of."""
    with server_with(slots=1, allow_in_place_tablespaces="on", pg_webhook__poll_interval="'1d'") as server:
        dbs = [Database(server, name, extension=False) for name in ("one", "two", "three", "four")]
        for db in dbs:
            db.run("CREATE EXTENSION pg_webhook")
        yield server, dbs
        for db in dbs:
            db.close()


@pytest.fixture
def four(crowded, receiver):
    """Each with a webhook."""
    server, dbs = crowded
    for db in dbs:
        furnish(db, receiver)
    yield dbs
    for db in dbs:
        db.run("SELECT webhook_delete('hook'); DROP TABLE items")


def workers(db):
    """The state of each database's worker."""
    return dict(db.rows("SELECT database, state FROM webhook.workers"))


def give_its_place_up(db, other, receiver):
    """Have the worker of `db` leave, because `other` has something to send. One that has just been told of something comes
    again at once, and stays then until somebody needs its place."""
    def has_left():
        before = arrived(receiver, other)
        insert(other)
        wait_until(lambda: arrived(receiver, other) > before, "the other one's event")
        return workers(db)[db.name] == "resting"

    wait_until(has_left, lambda: f"the worker to have left: {workers(db)}")


def test_databases_take_turns(four, receiver):
    for round_number in range(1, 4):
        for db in four:
            insert(db)
        for db in four:
            wait_until(lambda: arrived(receiver, db) == round_number, f"the event of {db.name}")
    states = list(workers(four[0]).values())
    assert len(states) == 4 and sum(state == "running" for state in states) <= 1


def test_a_commit_of_a_prepared_transaction_wakes(four, receiver):
    db, other = four[:2]
    with db.connect(autocommit=False) as session:
        session.execute("INSERT INTO items DEFAULT VALUES")
        session.execute("PREPARE TRANSACTION 'rows'")
    give_its_place_up(db, other, receiver)
    db.run("COMMIT PREPARED 'rows'")
    wait_until(lambda: arrived(receiver, db) == 1, "the event", 10)


def test_a_retry_is_due_in_a_database_without_a_worker(four, receiver):
    db, other = four[:2]
    receiver.on(f"/{db.name}", reply(500), reply(200))
    db.run("SELECT webhook_update('hook', retry_backoff_seconds => 4)")
    insert(db)
    wait_until(lambda: arrived(receiver, db) == 1, "the first attempt")
    give_its_place_up(db, other, receiver)
    due = other.value("SELECT extract(epoch FROM next_due - clock_timestamp())::float FROM webhook.workers WHERE database = %s", db.name)
    assert 0 < due < 5
    wait_until(lambda: arrived(receiver, db) == 2, "the second attempt", due + 10)


def test_one_that_always_has_work_makes_room_and_one_that_is_dropped_at_once(four, crowded, receiver):
    """For databases that say what they wait for, and capture meanwhile."""
    server, _ = crowded
    db, said = four[0], len(server.log_text())
    first, second = others = [furnish(Database(server, name), receiver, timeout_seconds=300) for name in ("first", "second")]
    receiver.on("/first", hang(), reply(200), hang())
    receiver.on("/second", hang())
    state = lambda db: db.value("SELECT state FROM webhook.worker")

    def waits(db):
        insert(db)
        wait_until(lambda: state(db) == "no worker slot", lambda: f"no worker slot, not {workers(db)}")

    insert(first)
    wait_until(lambda: arrived(receiver, first) == 1, "the request that hangs")
    waits(second)
    waits(db)
    insert(db)
    wait_until(lambda: arrived(receiver, second) == 1, lambda: f"the second one's event: {workers(db)}", 15)
    assert db.statuses()["pending"] == 2 and workers(db)[db.name] == "no worker slot"
    told = "databases wait for a background worker slot"
    wait_until(lambda: server.log_lines(told, said), lambda: f"the log to say so: {workers(db)}")
    assert state(db) == "no worker slot"
    began = time.monotonic()
    second.run("DROP EXTENSION pg_webhook")
    wait_until(lambda: arrived(receiver, db) == 2, lambda: f"what has waited: {workers(db)}")
    assert time.monotonic() - began < 4, "before the second one would have had to make room"
    # Nothing is lost of the first one's.
    wait_until(lambda: answered(receiver, first) == [1], "the request once more")
    insert(first)
    wait_until(lambda: arrived(receiver, first) == 3, "another one that hangs")
    waits(db)
    for other in others:
        other.close()
    with server.connect() as admin:
        began = time.monotonic()
        admin.execute("DROP DATABASE first")
        wait_until(lambda: arrived(receiver, db) == 3, lambda: f"what has waited: {workers(db)}")
        assert time.monotonic() - began < 4
        admin.execute("DROP DATABASE second")
    assert len(server.log_lines(told, said)) == 1, "once for as long as any waits"


def test_what_waits_when_one_has_to_make_room_is_sent_later(four, receiver):
    busy, other = four[:2]
    receiver.on(f"/{busy.name}", hang())
    # Its worker may be back before the endpoint answers: what hangs then ends some time.
    busy.run("SELECT webhook_update('hook', timeout_seconds => 30, retry_backoff_seconds => 1, max_concurrency => 2)")
    busy.run("INSERT INTO items SELECT FROM generate_series(1, 50)")
    wait_until(lambda: arrived(receiver, busy) >= 1, "a request that hangs")
    insert(other)
    wait_until(lambda: arrived(receiver, other) == 1, lambda: f"the other one's event: {workers(busy)}", 15)
    receiver.on(f"/{busy.name}", reply(200))
    wait_until(lambda: answered(receiver, busy) == list(range(1, 51)), lambda: answered(receiver, busy), 90)


def test_the_ring_turns_in_a_database_without_a_worker(four, crowded, receiver):
    server, _ = crowded
    slots = lambda: [db.value("SELECT slot FROM webhook.ring") for db in four]
    before = slots()
    server.reload(pg_webhook__log_retention="60")
    try:
        wait_until(lambda: all(now != then for now, then in zip(slots(), before)), "all rings to turn", 40)
    finally:
        server.reload(pg_webhook__log_retention="'7d'")


# Rows that a worker looks at in one go, of those that wait.
PAGE = 2000


def test_a_backlog_of_many_pages_keeps_its_bounds_though_no_turn_is_long_enough(four, receiver):
    """Both databases always have something to send, and each turn ends with that. What is beyond a bound is the oldest, at
    which a worker looks last."""
    db, other = four[:2]
    db.run("CREATE TABLE waits (id int PRIMARY KEY)")
    db.create("waits", receiver.url("/never"), table_name="waits", max_backlog_age="1 hour")
    db.run("SELECT webhook_pause('waits')")
    db.run("INSERT INTO waits SELECT generate_series(1, %s)", 6 * PAGE)
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending") == 6 * PAGE, "the backlog")
    give_its_place_up(db, other, receiver)
    db.run("UPDATE webhook.pending SET next_at = next_at - interval '1 day' WHERE id IN (SELECT id FROM webhook.pending ORDER BY id LIMIT 5)")
    dead = "SELECT count(*) FROM webhook.pending WHERE next_at = 'infinity'"
    turns = 0
    try:
        while db.value(dead) == 0:
            assert turns < 30, "the oldest still wait"
            before = arrived(receiver, db)
            insert(db)
            wait_until(lambda: arrived(receiver, db) > before, "an event")
            give_its_place_up(db, other, receiver)
            turns += 1
        assert db.value(dead) == 5
    finally:
        db.run("SELECT webhook_delete('waits'); DROP TABLE waits; DELETE FROM webhook.pending")


def test_a_bound_is_kept_in_a_database_without_a_worker(four, crowded, receiver):
    """Nothing else is due there, and a rest is no time in which nobody could try."""
    db, other = four[:2]
    db.run("SELECT webhook_pause('hook')")
    insert(db)
    waiting = "FROM webhook.pending WHERE webhook = (SELECT max(id) FROM webhook.webhook)"
    wait_until(lambda: db.value(f"SELECT count(*) {waiting}") == 1, "the backlog")
    db.run("SELECT webhook_update('hook', max_backlog_age => '1 hour 1 second')")
    give_its_place_up(db, other, receiver)
    due = "SELECT extract(epoch FROM next_due - clock_timestamp())::float FROM webhook.workers WHERE database = %s"
    assert 0 < db.value(due, db.name) <= 3601, "the event will be too old, or the look at the backlog goes on"
    # As if it had rested for that long.
    db.run("UPDATE webhook.cursor SET at = at - interval '1 hour'; UPDATE webhook.pending SET next_at = next_at - interval '1 hour'")
    wait_until(lambda: db.value(f"SELECT now() - next_at > '1 hour 1 second' {waiting}"), "the event to be too old")
    # That makes all due.
    crowded[0].reload()
    errors = lambda: db.rows("SELECT error FROM webhook.dead_letters WHERE webhook = 'hook'")
    wait_until(lambda: errors(), lambda: workers(db), 8)
    assert errors() == [("expired: it has waited for longer than 3601 seconds (the webhook's max_backlog_age)",)]


@pytest.mark.alone
def test_no_commit_is_lost_that_races_with_leaving_and_coming(four, receiver):
    """10,000, by one session in each database. Now and then it waits for its own event, and then for one that comes alone:
    nobody has woken the worker for another one, and it may be about to leave."""
    def write(db, seed):
        pace = random.Random(seed)
        with db.connect() as session:
            for number in range(2500):
                row = session.execute("INSERT INTO items DEFAULT VALUES RETURNING id").fetchone()[0]
                if number % 100 >= 98:
                    wait_until(lambda: row in rows(db), lambda: f"row {row} of {db.name}: {workers(four[0])}", 30, interval=0.002)
                    time.sleep(pace.random() * 0.02)

    seen = {db.name: (0, set()) for db in four}

    def rows(db):
        count, known = seen[db.name]
        got = receiver.got(f"/{db.name}")
        known.update(json.loads(r.body)["record"]["id"] for r in got[count:])
        seen[db.name] = (len(got), known)
        return known

    with concurrent.futures.ThreadPoolExecutor(4) as sessions:
        for done in [sessions.submit(write, db, seed) for seed, db in enumerate(four)]:
            done.result()
    for db in four:
        wait_until(lambda: len(rows(db)) == 2500, lambda: f"{len(rows(db))} of {db.name}", 30)


def test_no_commit_is_lost_whose_worker_is_sent_away(four, crowded, receiver):
    """At any moment of its coming, by a statement that then fails; nothing wakes it again."""
    server, _ = crowded
    db, pace = four[0], random.Random(1)
    for _ in range(60):
        before = arrived(receiver, db)
        with server.connect(options=f"-c statement_timeout={pace.randrange(1, 40)}") as admin:
            insert(db)
            with pytest.raises(psycopg.errors.QueryCanceled):
                admin.execute(f"ALTER DATABASE {db.name} RENAME TO renamed")
        wait_until(lambda: arrived(receiver, db) > before, lambda: f"an event of {db.name}: {workers(db)}", 10)


def test_an_extension_that_is_created_by_a_prepared_transaction_is_served(crowded, receiver):
    server, _ = crowded
    db = Database(server, "prepared", extension=False)
    with db.connect(autocommit=False) as session:
        session.execute("CREATE EXTENSION pg_webhook")
        session.execute("PREPARE TRANSACTION 'extension'")
    db.run("COMMIT PREPARED 'extension'")
    furnish(db, receiver)
    insert(db)
    wait_until(lambda: arrived(receiver, db) == 1, "the event", 15)
    db.close()
    with server.connect() as admin:
        admin.execute("DROP DATABASE prepared")


def test_who_sees_the_workers_of_all_databases(four, crowded):
    server, _ = crowded
    db = four[0]
    for role, level in (("watch", None), ("boss", "admin"), ("reader", "member"), ("nobody", None)):
        db.run(f"CREATE ROLE {role} LOGIN")
        if level:
            db.run("SELECT webhook_grant(%s, %s)", role, level)
    db.run("GRANT pg_monitor TO watch")
    for role in ("watch", "boss"):
        with server.connect(db.name, user=role) as session:
            names = [name for name, in session.execute("SELECT database FROM webhook.workers ORDER BY 1")]
            assert names == sorted(db.name for db in four)
    for role in ("reader", "nobody"):
        with server.connect(db.name, user=role) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT FROM webhook.workers")
    db.run("DROP OWNED BY watch, boss, reader, nobody; DROP ROLE watch, boss, reader, nobody")


def test_of_errors_elsewhere_the_code_is_told(four, receiver):
    db, other = four[:2]
    # More than the board has room for.
    db.run("""CREATE FUNCTION public.secret(int) RETURNS bool LANGUAGE plpgsql AS $$
        BEGIN RAISE check_violation USING MESSAGE = repeat('secret ', 100); END $$""")
    db.run("ALTER TABLE webhook.cursor ADD CONSTRAINT secret CHECK (public.secret(runs)) NOT VALID")
    insert(db)
    error = "SELECT last_error FROM webhook.workers WHERE database = %s"
    try:
        wait_until(lambda: other.value(error, db.name) == "check_violation", lambda: other.value(error, db.name), 20)
    finally:
        db.run("ALTER TABLE webhook.cursor DROP CONSTRAINT secret; DROP FUNCTION public.secret")


def test_of_a_lock_elsewhere_the_code_is_told(four, receiver):
    """And in the database itself who has it."""
    db, other = four[:2]
    with db.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE webhook.cursor IN ACCESS EXCLUSIVE MODE")
        insert(db)
        told = lambda: db.value("SELECT last_error FROM webhook.worker") or ""
        wait_until(lambda: f"locked by process {holder.info.backend_pid} of role postgres" in told(), told, 20)
        assert other.value("SELECT last_error FROM webhook.workers WHERE database = %s", db.name) == "lock_not_available"
