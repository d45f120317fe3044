"""The worker through stops, kills, reloads and drops: it is never in the way, and nothing is lost."""

import json
import os
import signal
import time

import pytest

from harness import Cluster, wait_until
from harness.cluster import Database
from harness.preload import library
from harness.receiver import after, hang, reply


def prepare(db, receiver, **settings):
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items", **settings)


def insert(db, first, last):
    db.run("INSERT INTO items SELECT i FROM generate_series(%s::int, %s::int) i", first, last)


def ids(receiver):
    """The ids of the rows whose events were answered."""
    return sorted(json.loads(r.body)["record"]["id"] for r in receiver.got() if r.answered == 200)


def test_a_second_database_starts_without_a_restart(db, cluster, make_db, receiver):
    other = make_db(cluster)
    for database, path in ((db, "/one"), (other, "/two")):
        database.run("CREATE TABLE items (id int PRIMARY KEY)")
        database.create("hook", receiver.url(path), table_name="items")
        database.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    other.wait_for_status(1)
    assert len(receiver.got("/one")) == len(receiver.got("/two")) == 1
    first, second = (receiver.got(path)[0].id for path in ("/one", "/two"))
    assert first != second
    other.drop()


def test_a_database_made_from_a_template_with_the_extension_gets_a_worker(own_cluster, make_db):
    server = own_cluster()
    template = make_db(server, "origin")
    template.run("DROP EXTENSION pg_webhook")
    template.run("CREATE EXTENSION pg_webhook")
    template.wait_for_worker()
    template.run("CREATE TABLE items (id int)")
    template.close()
    with server.connect() as admin:
        admin.execute("CREATE DATABASE copy TEMPLATE origin")
    copy = server.connect("copy")
    state = wait_until(
        lambda: copy.execute(
            "SELECT state FROM webhook.worker WHERE pid IS NOT NULL AND state <> 'starting'"
        ).fetchone(),
        "a worker in the copy",
    )
    assert state == ("unarmed",)


@pytest.mark.alone
def test_fast_stop_with_requests_hanging(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server)
    prepare(db, receiver, timeout_seconds=60, max_concurrency=20)
    durations = []
    for first in range(1, 100, 20):
        receiver.default(hang())
        insert(db, first, first + 19)
        receiver.wait(first + 19)
        db.close()
        began = time.monotonic()
        server.stop("fast")
        durations.append(time.monotonic() - began)
        assert server.log_lines("PANIC|SIGSEGV|terminated by signal|not properly shut down") == []
        receiver.default(reply(200))
        server.start()
        db.connection = server.connect(db.name)
        db.wait_for_worker()
        db.wait_for_status(first + 19)
    assert max(durations) <= 3, durations
    assert set(ids(receiver)) == set(range(1, 101))


def test_pg_terminate_backend(db, receiver):
    receiver.default(after(0.05, reply(200)))
    prepare(db, receiver)
    started = db.value("SELECT pg_postmaster_start_time()")
    insert(db, 1, 200)
    receiver.wait(20)
    for _ in range(5):
        pid = db.wait_for_worker()
        assert db.value("SELECT pg_terminate_backend(%s)", pid)
        began = time.monotonic()
        db.wait_for_worker(other_than=pid)
        assert time.monotonic() - began < 5
    db.wait_for_status(200)
    assert db.value("SELECT pg_postmaster_start_time()") == started
    arrived = ids(receiver)
    assert set(arrived) == set(range(1, 201))
    # What was under way, where the machine has kept its answer back for longer than the worker waits.
    assert len(arrived) - 200 <= 5 * 10


def test_pg_cancel_backend_is_no_reason_to_stop(db, receiver):
    prepare(db, receiver)
    pid = db.wait_for_worker()
    for first in range(1, 101):
        assert db.value("SELECT pg_cancel_backend(%s)", pid)
        insert(db, first, first)
    db.wait_for_status(100)
    assert db.worker() == pid
    assert ids(receiver) == list(range(1, 101))


def test_terminating_the_launcher_harms_nobody(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server)
    prepare(db, receiver)
    worker = db.worker()

    def launcher():
        return db.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_webhook launcher'")

    old = launcher()
    assert db.value("SELECT pg_terminate_backend(%s)", old)
    wait_until(lambda: launcher() not in (None, old), "a new launcher")
    insert(db, 1, 10)
    db.wait_for_status(10)
    assert db.worker() == worker
    # It has taken over: a worker that ends is started again, and a new database gets one.
    assert db.value("SELECT pg_terminate_backend(%s)", worker)
    db.wait_for_worker(other_than=worker)
    make_db(server)


def test_reload_changes_settings_of_the_running_worker(own_cluster, make_db, receiver):
    server = own_cluster(pg_webhook__allowed_networks="''")
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    server.reload(pg_webhook__allowed_networks="'127.0.0.1'")
    wait_until(lambda: db.value("SHOW pg_webhook.allowed_networks") == "127.0.0.1", "the reload")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    insert(db, 1, 1)
    db.wait_for_status(1)
    server.reload(pg_webhook__allowed_networks="''")

    def refused():
        insert(db, db.value("SELECT max(id) + 1 FROM items"), db.value("SELECT max(id) + 1 FROM items"))
        return db.value("SELECT count(*) FROM webhook.attempts WHERE error_class = 'blocked_address'")

    wait_until(refused, "an attempt that is refused", interval=0.2)
    server.reload(pg_webhook__allowed_networks="'127.0.0.1'")
    db.settled()


def test_what_the_worker_does_is_in_the_log_where_somebody_wants_it(own_cluster, make_db, receiver):
    cluster = own_cluster(log_min_messages="debug1")
    db = make_db(cluster)
    prepare(db, receiver, retry_backoff_seconds=1)
    receiver.on("/", reply(500), reply(200))
    insert(db, 1, 1)
    wait_until(lambda: ids(receiver) == [1], "the retry")
    for line in (
        "DEBUG:  pg_webhook: starts a worker in database [0-9]+",
        "DEBUG:  pg_webhook: reads on behind [0-9:,]+, one event at a time: false",
        "DEBUG:  pg_webhook: 1 webhooks, 1 of which send",
        "DEBUG:  pg_webhook: 1 events of window [0-9]+",
        "DEBUG:  pg_webhook: 1 attempts written, 1 events to the backlog, in [0-9.]+[mµ]?s",
        "DEBUG:  pg_webhook: 1 due events of 1 webhooks, from the backlog",
    ):
        wait_until(lambda: cluster.log_lines(line), line)
    assert not [line for line in cluster.log_lines("DEBUG:  pg_webhook") if receiver.url("/") in line]


@pytest.mark.alone
def test_drop_of_another_database_is_not_delayed(db, cluster, receiver):
    receiver.default(hang())
    prepare(db, receiver, timeout_seconds=60, max_concurrency=50)
    insert(db, 1, 50)
    receiver.wait(50)
    for number in range(10):
        with cluster.connect() as admin:
            admin.execute(f"CREATE DATABASE bystander{number} TEMPLATE template0")
            began = time.monotonic()
            admin.execute(f"DROP DATABASE bystander{number}{' WITH (FORCE)' * (number % 2)}")
            assert time.monotonic() - began < 2


def test_drop_of_the_served_database_by_force(cluster, make_db, receiver):
    receiver.default(hang())
    for _ in range(5):
        db = make_db(cluster)
        prepare(db, receiver, timeout_seconds=60)
        before = len(receiver.got())
        insert(db, 1, 10)
        receiver.wait(before + 10)
        began = time.monotonic()
        db.drop()
        assert time.monotonic() - began < 5
    assert cluster.log_lines("PANIC|SIGSEGV|terminated by signal") == []


def test_drop_extension_with_requests_in_flight(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server)
    receiver.default(after(0.5, reply(200)))
    prepare(db, receiver, timeout_seconds=60)
    insert(db, 1, 50)
    receiver.wait(10)
    db.run("DROP EXTENSION pg_webhook")
    assert db.value("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    insert(db, 51, 60)
    gone = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_webhook worker'"
    wait_until(lambda: db.value(gone) == 0, "the worker to leave")
    assert server.log_lines("ERROR|PANIC|terminated by signal") == []
    db.run("CREATE EXTENSION pg_webhook")
    db.wait_for_worker()
    receiver.default(reply(200))
    db.create("again", receiver.url("/again"), table_name="items")
    insert(db, 61, 61)
    db.wait_for_status(1)
    assert len(receiver.got("/again")) == 1


def test_a_drop_of_the_extension_that_is_rolled_back(db, receiver):
    prepare(db, receiver)
    with db.connect(autocommit=False) as other:
        other.execute("DROP EXTENSION pg_webhook")
        other.rollback()
    insert(db, 1, 10)
    db.wait_for_status(10)


def test_drop_of_a_watched_table(db, receiver):
    receiver.on("/", after(0.2, reply(200)))
    prepare(db, receiver, max_concurrency=2)
    db.run("CREATE TABLE others (id int PRIMARY KEY)")
    db.run("SELECT webhook_watch('hook', 'others')")
    insert(db, 1, 10)
    db.run("DROP TABLE items")
    db.wait_for_status(10)
    assert db.rows("SELECT tables FROM webhook.webhooks") == [
        ({"public.others": {"events": ["INSERT", "UPDATE", "DELETE"]}},)
    ]
    db.run("INSERT INTO others VALUES (1)")
    db.wait_for_status(11)
    db.run("SELECT webhook_delete('hook')")


def test_kill_9_of_a_backend_loses_nothing(own_cluster, make_db, receiver):
    server = own_cluster(restart_after_crash="on")
    db = make_db(server)
    prepare(db, receiver)
    receiver.default(after(0.01, reply(200)))
    for round_number in range(3):
        first = round_number * 300 + 1
        insert(db, first, first + 299)
        receiver.wait(first + 50)
        server.crash_of_a_session()
        db.reconnect()
        db.wait_for_status(first + 299)
    arrived = ids(receiver)
    assert set(arrived) == set(range(1, 901))
    assert len(arrived) - 900 <= 3 * (10 + 2 * 512)


@pytest.mark.alone
def test_the_worker_ends_with_the_postmaster(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server)
    receiver.default(hang())
    prepare(db, receiver, timeout_seconds=60)
    insert(db, 1, 10)
    receiver.wait(10)
    worker = db.worker()
    server.signal_process(server.postmaster_pid(), signal.SIGKILL)
    # Long before the requests do.
    wait_until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker to end", 20)
    received = len(receiver.got())
    receiver.default(reply(200))
    server.start()
    db.connection = server.connect(db.name)
    db.wait_for_status(10)
    assert len(receiver.got()) <= received + 10


@pytest.mark.alone
def test_a_worker_that_has_always_something_to_do_ends_with_the_postmaster(own_cluster, make_db, receiver):
    """As one that sends one event at a time, because runs before have ended badly, and has many due."""
    server = own_cluster(restart_after_crash="on")
    db = make_db(server)
    receiver.default(after(0.1, reply(200)))
    prepare(db, receiver)
    db.run("SELECT webhook_pause('hook')")
    insert(db, 1, 1000)
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending") == 1000, "all to wait")
    # Within ten seconds of the worker's beginning, after which it has gone well.
    db.run("UPDATE webhook.cursor SET runs = 3")
    server.crash_of_a_session()
    db.reconnect()
    worker = db.wait_for_worker()
    assert db.value("SELECT runs FROM webhook.cursor") > 2
    db.run("SELECT webhook_resume('hook')")
    receiver.wait(5)
    server.signal_process(server.postmaster_pid(), signal.SIGKILL)
    # Long before it has sent them all.
    wait_until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker to end", 20)


@pytest.mark.parametrize("statement", [
    "TRUNCATE webhook.attempt", "VACUUM FULL webhook.pending", "REINDEX TABLE webhook.event",
    "VACUUM webhook.event", "ANALYZE webhook.attempt", "DELETE FROM webhook.attempt",
])
def test_maintenance_of_our_tables_under_load(db, receiver, statement):
    prepare(db, receiver)
    pid = db.wait_for_worker()
    for first in range(1, 1001, 100):
        insert(db, first, first + 99)
        began = time.monotonic()
        db.run(statement)
        assert time.monotonic() - began < 5
    wait_until(lambda: set(ids(receiver)) == set(range(1, 1001)), "every event to arrive")
    assert len(receiver.got()) == 1000
    assert db.worker() == pid


def test_hostile_database_settings_do_not_reach_the_worker(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server)
    for setting in (
        "default_transaction_read_only = on", "statement_timeout = 1", "lock_timeout = 1",
        "search_path = evil", "default_transaction_isolation = serializable", "TimeZone = 'Asia/Kolkata'",
        "idle_in_transaction_session_timeout = 1", "enable_indexscan = off",
    ):
        db.run(f"ALTER DATABASE {db.name} SET {setting}")
    pid = db.worker()
    db.run("SELECT pg_terminate_backend(%s)", pid)
    pid = db.wait_for_worker(other_than=pid)
    prepare(db, receiver)
    insert(db, 1, 100)
    db.wait_for_status(100)
    assert db.worker() == pid


def test_without_preload_everything_but_sending_works(own_cluster, receiver):
    server = own_cluster(shared_preload_libraries="''")
    notices = []
    with server.connect() as connection:
        connection.add_notice_handler(
            lambda n: notices.append((n.severity_nonlocalized, n.message_primary, n.message_hint))
        )
        connection.execute("CREATE EXTENSION pg_webhook")
        [(severity, message, hint)] = notices
        assert severity == "WARNING" and "not preloaded" in message
        assert "shared_preload_libraries = 'pg_webhook'" in hint
        connection.execute("CREATE TABLE items (id int PRIMARY KEY)")
        connection.execute("SELECT webhook_create('hook', %s, 'items')", [receiver.url("/")])
        connection.execute("INSERT INTO items VALUES (1)")
        assert connection.execute("SELECT state FROM webhook.worker").fetchone() == ("not preloaded",)
        assert connection.execute("SELECT status FROM webhook.deliveries").fetchall() == [("pending",)]
        assert connection.execute("SELECT status_code FROM webhook_test('hook')").fetchone() == (200,)
    server.stop()
    server.configure(shared_preload_libraries="'pg_webhook'")
    server.start()
    receiver.wait(2)
    with server.connect() as connection:
        wait_until(
            lambda: connection.execute(
                "SELECT count(*) FROM webhook.deliveries WHERE status = 'delivered'"
            ).fetchone() == (2,), "what waited to be delivered",
        )


def test_a_prepared_transaction_sends_when_it_commits(db, receiver):
    prepare(db, receiver)
    with db.connect(autocommit=False) as other:
        for number, end in ((1, "COMMIT"), (2, "ROLLBACK")):
            other.execute("INSERT INTO items VALUES (%s)", [number])
            other.execute(f"PREPARE TRANSACTION '{db.name}-{number}'")
    insert(db, 3, 3)
    db.wait_for_status(1)
    assert ids(receiver) == [3]
    db.run(f"COMMIT PREPARED '{db.name}-1'")
    db.run(f"ROLLBACK PREPARED '{db.name}-2'")
    db.wait_for_status(2)
    assert ids(receiver) == [1, 3]


def test_no_transaction_is_open_while_a_request_is(db, receiver):
    receiver.default(hang())
    prepare(db, receiver, timeout_seconds=60)
    insert(db, 1, 10)
    receiver.wait(10)
    pid = db.worker()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        age = db.value(
            "SELECT coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float"
            " FROM pg_stat_activity WHERE pid = %s", pid,
        )
        assert age < 1


def test_an_idle_worker_runs_hardly_any_statement(own_cluster, make_db, receiver):
    server = own_cluster(log_statement="'none'", track_activities="on")
    db = make_db(server)
    prepare(db, receiver)
    insert(db, 1, 1)
    db.wait_for_status(1)
    pid = db.worker()
    # A machine that takes memory away from who rests makes any first touch of it dear: so what the worker takes is
    # held against a session that asks one question as often as the worker looks.
    with server.connect(db.name) as session:
        asks = session.execute("SELECT pg_backend_pid()").fetchone()[0]

        def cpu(process):
            """Seconds on a CPU."""
            with open(f"/proc/{process}/schedstat") as file:
                return int(file.read().split()[0]) / 1e9

        calls = "SELECT sum(idx_scan) + sum(seq_scan) FROM pg_stat_all_tables WHERE schemaname = 'webhook'"
        # The cursor is written with one of the next looks, the one after that reads the slots once more, and the
        # worker's statistics arrive with the look that follows.
        db.run("SELECT pg_stat_force_next_flush()")
        time.sleep(17)
        before, worker, asking = db.value(calls), cpu(pid), cpu(asks)
        for _ in range(3):
            time.sleep(4)
            session.execute("SELECT count(*) FROM pg_catalog.pg_stat_activity")
        worker, asking = cpu(pid) - worker, cpu(asks) - asking
        assert worker <= 0.03 + 2 * asking
    # Two or three looks, of six scans and of eight in turns.
    assert db.value(calls) - before <= 3 * 8


def test_a_version_that_does_not_fit_sends_nothing_and_keeps_everything(own_cluster, make_db, receiver):
    server = own_cluster(pg_webhook__poll_interval="'1s'")
    db = make_db(server)
    prepare(db, receiver)
    version = db.value("SELECT extversion FROM pg_extension WHERE extname = 'pg_webhook'")
    state = "SELECT state FROM webhook.worker"
    # As after an update of the package that no ALTER EXTENSION has followed, and after one of the extension in a server that
    # still has the library of before. The worker runs meanwhile.
    others = {"0.0.1": "ALTER EXTENSION pg_webhook UPDATE", "999.0.0": "the server is restarted with the library of that version"}
    for number, (other, remedy) in enumerate(others.items(), 1):
        worker = db.wait_for_worker()
        db.run("UPDATE pg_extension SET extversion = %s WHERE extname = 'pg_webhook'", other)
        wait_until(lambda: db.value(state) == "version mismatch", "the worker to notice")
        insert(db, number, number)
        # It is looked at again meanwhile, of which the log says nothing.
        time.sleep(1.5)
        assert db.statuses().get("pending") == 1 and len(receiver.got()) == number - 1
        db.run("UPDATE pg_extension SET extversion = %s WHERE extname = 'pg_webhook'", version)
        db.wait_for_status(number)
        assert db.wait_for_worker() != worker
        [told] = server.log_lines(f"the extension has version {other}, the library {version}: ")
        assert told.endswith(f"nothing is sent until {remedy}")


def test_a_reload_while_the_worker_begins_is_not_missed(receiver):
    """The server makes it ignore that signal at first, and forget one that came before."""
    server = Cluster("late")
    try:
        server.start(LD_PRELOAD=library("late"))
        db = Database(server, "site").hand_over()
        db.create("hook", receiver.url("/"))
        server.reload(pg_webhook__enabled="off")
        wait_until(lambda: db.value("SHOW pg_webhook.enabled") == "off", "the reload")
        before = db.worker()
        db.run("SELECT webhook_invoke('hook', i) FROM (SELECT 1 AS id) AS i")
        db.judge.run("SELECT pg_terminate_backend(%s, 10000)", before)
        begun = lambda: set(server.processes("pg_webhook worker")) - {before}
        wait_until(begun, "the next one to begin")
        server.reload(pg_webhook__enabled="on")
        receiver.wait(1)
    finally:
        server.destroy()
