"""What is done to a database while its worker runs, or is about to."""

import concurrent.futures
import itertools
import time

import psycopg
import pytest

from harness import wait_until
from harness.cluster import Database
from harness.databases import arrived, furnish, insert
from harness.receiver import hang


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
    # A superuser's session that is still ending is one that its owner may not end.
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
    wait_until(lambda: session.execute(sessions, [db.name]).fetchone() == (0,), "the session to be gone")
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


def test_a_copy_is_changed_while_a_worker_looks_at_it(cluster, make_db):
    """For the first time, to see whether it has the extension: nobody knows yet that there is a worker."""
    db = make_db(cluster)
    boss, copy = f"{db.name}_boss", f"{db.name}_copy"
    changes = itertools.cycle((
        f"DROP DATABASE {copy}",
        f"DROP DATABASE {copy} WITH (FORCE)",
        f"ALTER DATABASE {copy} RENAME TO {copy}_new; DROP DATABASE {copy}_new",
        f"CREATE DATABASE {copy}_new TEMPLATE {copy}; DROP DATABASE {copy}; DROP DATABASE {copy}_new",
    ))
    with cluster.connect() as admin:
        admin.execute(f"CREATE ROLE {boss} LOGIN CREATEDB")
        # A template has no worker, which would have to leave each time.
        admin.execute(f"ALTER DATABASE {db.name} OWNER TO {boss}; ALTER DATABASE {db.name} IS_TEMPLATE true")
        db.close()
        there = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        wait_until(lambda: admin.execute(there, [db.name]).fetchone() == (0,), "the worker to leave")
    with cluster.connect(user=boss) as session:
        said = len(cluster.log_text())
        for number in range(40):
            session.execute(f"CREATE DATABASE {copy} TEMPLATE {db.name}")
            # At any moment of the visit.
            time.sleep(number / 400)
            for statement in next(changes).split("; "):
                began = time.monotonic()
                session.execute(statement)
                assert time.monotonic() - began < 5, statement
    # A worker that was asked for just before a database was dropped says so, once.
    lines = [line.split("FATAL: ")[1] for line in cluster.log_lines("pg_webhook .*FATAL: ", said)]
    assert len(set(lines)) == len(lines) and all("does not exist" in line for line in lines), lines
    with cluster.connect() as admin:
        admin.execute(f"ALTER DATABASE {db.name} IS_TEMPLATE false")
        admin.execute(f"DROP DATABASE {db.name}")
        admin.execute(f"DROP ROLE {boss}")


def test_one_that_nobody_can_connect_to_keeps_no_other_database_waiting(cluster, make_db):
    """For its first visit, of which there is one at a time, and a new launcher makes them all. The lock of a rename stays until
    its transaction ends, which may be prepared, or rename others as well."""
    db = make_db(cluster)
    prepared, first, second, later = (f"{db.name}_{name}" for name in ("prepared", "first", "second", "later"))
    launcher = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_webhook launcher'"
    state = "SELECT state FROM webhook.worker"
    with cluster.connect() as admin, cluster.connect(autocommit=False) as session:
        db.close()
        for name, template in ((prepared, "template0"), (first, "template0"), (second, db.name)):
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        with cluster.connect(second) as served:
            wait_until(lambda: served.execute(state).fetchone() == ("unarmed",), "a worker")
        session.execute(f"ALTER DATABASE {prepared} RENAME TO {prepared}_new")
        session.execute("PREPARE TRANSACTION 'renamed'")
        for name in (first, second):
            session.execute(f"ALTER DATABASE {name} RENAME TO {name}_new")
        old = admin.execute(launcher).fetchone()
        said = len(cluster.log_text())
        admin.execute("SELECT pg_terminate_backend(%s)", old)
        wait_until(lambda: admin.execute(launcher).fetchone() not in (None, old), "a new launcher")
        admin.execute(f"CREATE DATABASE {later} TEMPLATE {db.name}")
        with cluster.connect(later) as visited:
            wait_until(lambda: visited.execute(state).fetchone() == ("unarmed",), "the visit", 15)
        # Nor do the others miss it in the file that says who comes first after a start; one that has been there stays.
        hint = cluster.data / "pg_stat" / "pg_webhook.databases"
        expected = {str(oid) for oid, in admin.execute("SELECT oid FROM pg_database WHERE datname = ANY (%s)", [[second, later]])}
        wait_until(lambda: expected <= set(hint.read_text().split()), lambda: (expected, hint.read_text()))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_webhook worker' AND wait_event_type = 'Lock'"
        assert admin.execute(waiting).fetchone() == (0,)
        session.rollback()
        admin.execute("COMMIT PREPARED 'renamed'")
        for name, beginning in ((second, "SELECT webhook_arm()"), (f"{prepared}_new", "CREATE EXTENSION pg_webhook")):
            with cluster.connect(name) as served:
                served.execute(beginning)
                wait_until(lambda: served.execute(state).fetchone() == ("running",), "a worker")
        assert len(cluster.log_lines("pg_webhook .*(FATAL|ERROR)", said)) == 1, "what the launcher says of its end"
        for name in (f"{prepared}_new", first, second, later, db.name):
            admin.execute(f"DROP DATABASE {name}")


def test_a_worker_that_cannot_connect_gives_up_and_comes_again(cluster, db):
    with cluster.connect(autocommit=False) as admin:
        said, pid = len(cluster.log_text()), db.worker()
        # What each session reads in connecting.
        admin.execute("LOCK TABLE pg_catalog.pg_db_role_setting")
        db.run("SELECT pg_terminate_backend(%s)", pid)
        wait_until(lambda: cluster.log_lines("pg_webhook worker .*lock timeout", said), "it to give up")
        admin.rollback()
        db.wait_for_worker(other_than=pid)


def test_a_database_whose_drop_was_interrupted_is_left_alone(owned, cluster):
    db, session, _ = owned
    oid, other = db.value("SELECT oid FROM pg_database WHERE datname = %s", db.name), Database(cluster, f"{db.name}_other")
    db.close()
    said = len(cluster.log_text())
    with cluster.connect(autocommit=False) as admin, concurrent.futures.ThreadPoolExecutor(1) as background:
        # What DROP DATABASE reads when there is no way back any more.
        admin.execute("LOCK TABLE pg_catalog.pg_tablespace")
        dropping = background.submit(session.execute, f"DROP DATABASE {db.name}")
        limit = "SELECT datconnlimit FROM pg_database WHERE oid = %s"
        wait_until(lambda: admin.execute(limit, [oid]).fetchone() == (-2,), "the drop to have begun")
        admin.execute("SELECT pg_cancel_backend(%s)", [session.info.backend_pid])
        with pytest.raises(psycopg.errors.QueryCanceled):
            dropping.result()
    # A reload makes all due that have no worker, and whoever makes a database has the launcher look at all of them.
    cluster.reload()
    due = "SELECT next_due < now() FROM webhook.workers WHERE database = %s"
    wait_until(lambda: other.value(due, db.name), "the database to be due")
    other.drop()
    Database(cluster, f"{db.name}_other").drop()
    hint = cluster.data / "pg_stat" / "pg_webhook.databases"
    assert str(oid) in hint.read_text().split()
    session.execute(f"DROP DATABASE {db.name}")
    wait_until(lambda: str(oid) not in hint.read_text().split(), "its place to be free")
    assert cluster.log_lines(f"pg_webhook .*FATAL.*({db.name}|{oid})", said) == []


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
    for number in range(20):
        db = furnish(Database(cluster, "runner"), receiver, timeout_seconds=300)
        insert(db)
        wait_until(lambda: arrived(receiver, db) == number + 1, "the request")
        db.close()
        with cluster.connect() as admin:
            began = time.monotonic()
            admin.execute("DROP DATABASE runner")
            assert time.monotonic() - began < 4
