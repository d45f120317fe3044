"""Many databases and few workers; and what is done to a database while its worker runs."""

import concurrent.futures
import contextlib
import json
import random
import time

import psycopg
import pytest

from harness import Cluster, wait_until
from harness.cluster import Database
from harness.receiver import hang, reply

# Of max_worker_processes one is the launcher's, and one that of logical replication.
OTHERS = 2


@contextlib.contextmanager
def server_with(slots, **settings):
    server = Cluster("databases", max_worker_processes=slots + OTHERS, jit="off", **settings).start()
    try:
        yield server
    finally:
        server.destroy()


def furnish(db, receiver, path=None, **settings):
    db.run("CREATE TABLE items (id serial PRIMARY KEY)")
    db.create("hook", receiver.url(path or f"/{db.name}"), table_name="items", **settings)
    return db


def insert(db):
    db.run("INSERT INTO items DEFAULT VALUES")


def arrived(receiver, db):
    return len(receiver.got(f"/{db.name}"))


def answered(receiver, db):
    return sorted(json.loads(r.body)["record"]["id"] for r in receiver.got(f"/{db.name}") if r.answered == 200)


@pytest.fixture(scope="module")
def crowded():
    """Four databases and one place for a worker."""
    with server_with(slots=1, allow_in_place_tablespaces="on") as server:
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
    """Have the worker of `db` leave, because `other` has something to send."""
    before = arrived(receiver, other)
    insert(other)
    wait_until(lambda: arrived(receiver, other) > before, "the other one's event")
    wait_until(lambda: workers(db)[db.name] == "resting", "the worker to have left")


@pytest.mark.xdist_group("crowded")
def test_databases_take_turns(four, receiver):
    for round_number in range(1, 4):
        for db in four:
            insert(db)
        for db in four:
            wait_until(lambda: arrived(receiver, db) == round_number, f"the event of {db.name}")
    states = list(workers(four[0]).values())
    assert len(states) == 4 and sum(state == "running" for state in states) <= 1


@pytest.mark.xdist_group("crowded")
def test_a_commit_of_a_prepared_transaction_wakes(four, receiver):
    db, other = four[:2]
    with db.connect(autocommit=False) as session:
        session.execute("INSERT INTO items DEFAULT VALUES")
        session.execute("PREPARE TRANSACTION 'rows'")
    give_its_place_up(db, other, receiver)
    db.run("COMMIT PREPARED 'rows'")
    wait_until(lambda: arrived(receiver, db) == 1, "the event", 10)


@pytest.mark.xdist_group("crowded")
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


@pytest.mark.xdist_group("crowded")
def test_one_that_always_has_work_makes_room(four, receiver):
    busy, other = four[:2]
    receiver.on(f"/{busy.name}", hang())
    busy.run("SELECT webhook_update('hook', timeout_seconds => 300)")
    insert(busy)
    wait_until(lambda: arrived(receiver, busy) == 1, "the request that hangs")
    insert(other)
    wait_until(lambda: arrived(receiver, other) == 1, "the other one's event", 15)
    # Nothing is lost of it.
    receiver.on(f"/{busy.name}", reply(200))
    wait_until(lambda: answered(receiver, busy) == [1], "the request once more")


@pytest.mark.xdist_group("crowded")
def test_what_waits_when_one_has_to_make_room_is_sent_later(four, receiver):
    busy, other = four[:2]
    receiver.on(f"/{busy.name}", hang())
    busy.run("SELECT webhook_update('hook', timeout_seconds => 300, max_concurrency => 2)")
    busy.run("INSERT INTO items SELECT FROM generate_series(1, 50)")
    wait_until(lambda: arrived(receiver, busy) >= 1, "a request that hangs")
    insert(other)
    wait_until(lambda: arrived(receiver, other) == 1, "the other one's event", 15)
    receiver.on(f"/{busy.name}", reply(200))
    wait_until(lambda: answered(receiver, busy) == list(range(1, 51)), lambda: answered(receiver, busy))


@pytest.mark.xdist_group("crowded")
def test_the_ring_turns_in_a_database_without_a_worker(four, crowded, receiver):
    server, _ = crowded
    slots = lambda: [db.value("SELECT slot FROM webhook.ring") for db in four]
    before = slots()
    server.reload(pg_webhook__log_retention="60")
    try:
        wait_until(lambda: all(now != then for now, then in zip(slots(), before)), "all rings to turn", 40)
    finally:
        server.reload(pg_webhook__log_retention="'7d'")


@pytest.mark.xdist_group("crowded")
@pytest.mark.alone
def test_no_commit_is_lost_that_races_with_leaving_and_coming(four, receiver):
    """10,000, by two sessions in each database. Now and then one waits for its own event, which nothing but its own
    wake announces then: what is looked at without one is looked at once a minute."""
    def write(db, seed):
        pace = random.Random(seed)
        with db.connect() as session:
            for number in range(1250):
                row = session.execute("INSERT INTO items DEFAULT VALUES RETURNING id").fetchone()[0]
                if number % 50 == 49:
                    wait_until(lambda: row in rows(db), lambda: f"row {row} of {db.name}: {workers(four[0])}", 30, interval=0.002)
                    time.sleep(pace.random() * 0.02)

    seen = {db.name: (0, set()) for db in four}

    def rows(db):
        count, known = seen[db.name]
        got = receiver.got(f"/{db.name}")
        known.update(json.loads(r.body)["record"]["id"] for r in got[count:])
        seen[db.name] = (len(got), known)
        return known

    with concurrent.futures.ThreadPoolExecutor(8) as sessions:
        for done in [sessions.submit(write, db, seed) for seed, db in enumerate(four * 2)]:
            done.result()
    for db in four:
        wait_until(lambda: len(rows(db)) == 2500, lambda: f"{len(rows(db))} of {db.name}", 30)


@pytest.mark.xdist_group("crowded")
def test_no_commit_is_lost_whose_worker_is_sent_away(four, crowded, receiver):
    """At any moment of its coming, by a statement that then fails; nothing wakes it again."""
    server, _ = crowded
    db, pace = four[0], random.Random(1)
    with server.connect() as admin:
        for _ in range(60):
            before = arrived(receiver, db)
            insert(db)
            admin.execute("SELECT set_config('statement_timeout', %s, false)", [f"{pace.randrange(1, 40)}ms"])
            with pytest.raises(psycopg.errors.QueryCanceled):
                admin.execute(f"ALTER DATABASE {db.name} RENAME TO renamed")
            wait_until(lambda: arrived(receiver, db) > before, lambda: f"an event of {db.name}: {workers(db)}", 10)


@pytest.mark.xdist_group("crowded")
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


@pytest.mark.xdist_group("crowded")
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


@pytest.mark.xdist_group("crowded")
def test_of_errors_elsewhere_the_code_is_told(four, receiver):
    db, other = four[:2]
    db.run("ALTER TABLE webhook.cursor ADD CONSTRAINT secret CHECK (runs < 0) NOT VALID")
    insert(db)
    error = "SELECT last_error FROM webhook.workers WHERE database = %s"
    try:
        wait_until(lambda: other.value(error, db.name) == "check_violation", lambda: other.value(error, db.name), 20)
    finally:
        db.run("ALTER TABLE webhook.cursor DROP CONSTRAINT secret")


# --- what is done to a database ----------------------------------------------------------------------


@pytest.fixture
def owned(cluster, make_db, receiver):
    """A database of a role that may create databases, with a request that hangs."""
    receiver.default(hang())
    db = make_db(cluster)
    boss = f"{db.name}_boss"
    with cluster.connect() as admin:
        admin.execute(f"CREATE ROLE {boss} LOGIN CREATEDB; CREATE ROLE {boss}_other LOGIN CREATEDB")
        admin.execute(f'ALTER DATABASE "{db.name}" OWNER TO {boss}')
    furnish(db, receiver, timeout_seconds=300)
    insert(db)
    wait_until(lambda: arrived(receiver, db) == 1, "the request")
    pid = db.worker()
    with cluster.connect(user=boss) as session:
        yield db, session, pid
    db.close()
    with cluster.connect() as admin:
        for name in (db.name, f"{db.name}_new"):
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.execute(f"DROP ROLE {boss}, {boss}_other")


def back(cluster, name, pid, receiver):
    """The worker has gone and is here again, and its request with it."""
    with cluster.connect(name) as session:
        state = "SELECT pid FROM webhook.worker WHERE state = 'running'"
        return wait_until(lambda: (session.execute(state).fetchone() or (pid,))[0] != pid, "the worker to come back", 20)


@pytest.mark.parametrize("statement", ["DROP DATABASE {name}", "DROP DATABASE {name} WITH (FORCE)"])
def test_a_database_is_dropped_while_its_requests_hang(owned, statement):
    db, session, _ = owned
    db.close()
    began = time.monotonic()
    session.execute(statement.format(name=db.name))
    assert time.monotonic() - began < 4


def test_a_database_is_renamed_and_copied_while_its_requests_hang(owned, cluster, receiver):
    db, session, pid = owned
    db.close()
    began = time.monotonic()
    session.execute(f"CREATE DATABASE {db.name}_new TEMPLATE {db.name}")
    session.execute(f"DROP DATABASE {db.name}_new")
    session.execute(f"ALTER DATABASE {db.name} RENAME TO {db.name}_new")
    assert time.monotonic() - began < 12
    back(cluster, f"{db.name}_new", pid, receiver)
    wait_until(lambda: arrived(receiver, db) >= 2, "the request again")


def test_a_database_moves_to_another_tablespace(own_cluster, make_db, receiver):
    server = own_cluster(allow_in_place_tablespaces="on")
    receiver.default(hang())
    db = furnish(make_db(server), receiver, timeout_seconds=300)
    insert(db)
    wait_until(lambda: arrived(receiver, db) == 1, "the request")
    pid = db.worker()
    db.close()
    with server.connect() as admin:
        admin.execute("CREATE TABLESPACE elsewhere LOCATION ''")
        admin.execute(f"ALTER DATABASE {db.name} SET TABLESPACE elsewhere")
    back(server, db.name, pid, receiver)
    # One that nobody may connect to any more is left.
    with server.connect() as admin:
        admin.execute(f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS false")
        gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        wait_until(lambda: admin.execute(gone, [db.name]).fetchone() == (0,), "the worker to leave", 20)
        admin.execute(f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS true")
    back(server, db.name, pid, receiver)


def test_who_may_not_leaves_the_worker_alone(owned, cluster):
    db, session, pid = owned
    with cluster.connect(user=f"{db.name}_boss_other") as stranger:
        for statement in (
            f"DROP DATABASE {db.name}", f"DROP DATABASE {db.name} WITH (FORCE)", f"ALTER DATABASE {db.name} RENAME TO mine",
            f"ALTER DATABASE {db.name} SET TABLESPACE pg_default", f"CREATE DATABASE mine TEMPLATE {db.name}",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                stranger.execute(statement)
    with cluster.connect(user=f"{db.name}_boss", autocommit=False) as inside:
        for statement in (
            f"DROP DATABASE {db.name}", f"ALTER DATABASE {db.name} SET TABLESPACE pg_default",
            f"CREATE DATABASE mine TEMPLATE {db.name}",
        ):
            with pytest.raises(psycopg.errors.ActiveSqlTransaction):
                inside.execute(statement)
            inside.rollback()
    assert db.worker() == pid


def test_a_statement_that_fails_or_dies_lets_the_worker_back(owned, cluster, receiver):
    db, session, pid = owned
    # db's own connection is in the way.
    session.execute("SET statement_timeout = 500")
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute(f"DROP DATABASE {db.name}")
    pid = db.wait_for_worker(other_than=pid)
    db.close()
    session.execute("RESET statement_timeout")
    dying = cluster.connect(user=f"{db.name}_boss", autocommit=False)
    dying.execute(f"ALTER DATABASE {db.name} RENAME TO {db.name}_new")
    with cluster.connect() as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [dying.info.backend_pid])
    back(cluster, db.name, pid, receiver)
    dying.close()


def test_a_test_runner_makes_and_drops_its_database(cluster, receiver):
    receiver.default(hang())
    for number in range(5):
        db = furnish(Database(cluster, "runner"), receiver, timeout_seconds=300)
        insert(db)
        wait_until(lambda: arrived(receiver, db) == number + 1, "the request")
        db.close()
        with cluster.connect() as admin:
            began = time.monotonic()
            admin.execute("DROP DATABASE runner")
            assert time.monotonic() - began < 4


# --- very many ---------------------------------------------------------------------------------------


@pytest.mark.alone
def test_one_of_three_hundred_databases_is_found(receiver):
    with server_with(slots=6, fsync="off") as server:
        with server.connect() as admin:
            for number in range(299):
                admin.execute(f"CREATE DATABASE plain{number} TEMPLATE template0 STRATEGY file_copy")
        db = furnish(Database(server, "late"), receiver)
        hint = server.data / "pg_stat" / "pg_webhook.databases"
        oid = db.value("SELECT oid FROM pg_database WHERE datname = 'late'")
        wait_until(lambda: hint.exists() and str(oid) in hint.read_text().split(), "the hint")
        # In the order of their numbers it is the last one.
        began = time.monotonic()
        for number in range(299):
            server.connect(f"plain{number}").close()
        # What a machine that has other things to do takes longer for a connection it takes longer for a visit.
        busy = max(1, (time.monotonic() - began) / 3)
        for spoil, limit in ((lambda: None, 2), (lambda: hint.write_bytes(b"\xff" * 100), 15)):
            db.close()
            server.stop()
            spoil()
            said = len(server.log_text())
            server.start()
            began = time.monotonic()
            db.connection = server.connect("late")
            db.wait_for_worker()
            assert time.monotonic() - began < limit * busy
            assert server.log_lines("pg_webhook: |FATAL|ERROR", said) == []


@pytest.mark.alone
def test_a_hundred_databases_on_eight_slots(receiver):
    with server_with(slots=6, fsync="off") as server:
        db = furnish(Database(server, "origin", extension=True), receiver, "/", signature="none")
        db.close()
        names = [f"many{number}" for number in range(256)]
        with server.connect() as admin:
            for name in names[:100]:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE origin STRATEGY file_copy")
            sessions = [server.connect(name) for name in names[:100]]
            for number, session in enumerate(sessions):
                session.execute("SELECT webhook_arm()")
                session.execute("SELECT webhook_update('hook', url => %s)", [receiver.url(f"/{number}")])
            busy = "SELECT count(*) FROM webhook.workers WHERE state NOT IN ('resting', 'running')"
            wait_until(lambda: sessions[0].execute(busy).fetchone() == (0,), "quiet")
            for number, session in enumerate(sessions):
                session.execute("INSERT INTO items DEFAULT VALUES")
                wait_until(lambda: len(receiver.got()) > number - 60, "those before", 10)
            receiver.wait(100, timeout=10)
            assert all(len(receiver.got(f"/{number}")) == 1 for number in range(100))
            # A place on the board is for a database with the extension; there is one less than there are of these.
            for name in names[100:]:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE origin STRATEGY file_copy")
            full = "256 others have the extension already"
            states = "SELECT state, count(*) FROM webhook.workers GROUP BY 1"
            wait_until(lambda: server.log_lines(full), lambda: f"the log to say so: {sessions[0].execute(states).fetchall()}", 120)
            assert len(server.log_lines(full)) == 1
            states = [server.connect(name).execute("SELECT state FROM webhook.worker").fetchone()[0] for name in names[100:]]
            assert states.count("no place") == 1
