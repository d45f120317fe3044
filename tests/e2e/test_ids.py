"""Ids of deliveries: they grow, none is given twice whatever happens, and drawing one leaves no trace.

Whoever writes here is an ordinary role without any right on what is ours; the superuser only judges."""

import copy
import glob
import json
import os
import threading

import psycopg
import pytest

from harness import wait_until
from harness.clock import Clock
from harness.receiver import after, reply
from harness.session import Session

LARGEST = 2**53 - 1


class Site:
    """A database in which role `app`, a member, watches its tables, and role `writer`, who is nobody,
    writes to them. `plain` holds the same tables, watched by nobody. Without a receiver nothing is sent."""

    def __init__(self, server, receiver=None):
        self.server, self.name, self.sends = server, "site", receiver is not None
        with server.connect() as admin:
            admin.execute("CREATE ROLE app LOGIN; CREATE ROLE writer LOGIN")
            admin.execute("CREATE DATABASE site")
        with self.judge() as judge:
            judge.execute("CREATE EXTENSION pg_webhook")
            judge.execute("SELECT webhook_grant('app', 'member')")
            judge.execute("GRANT CREATE ON DATABASE site TO app")
        with self.connect("app") as app:
            for schema in ("app", "plain"):
                app.execute(f"CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO writer")
                app.execute(f"CREATE TABLE {schema}.items (id int PRIMARY KEY, v int)")
                app.execute(f"CREATE TABLE {schema}.orders (id bigserial PRIMARY KEY, v int)")
                app.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO writer")
                app.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO writer")
        self.watch(receiver)

    def watch(self, receiver=None):
        with self.connect("app") as app:
            for table in ("items", "orders"):
                url = receiver.url("/") if receiver else "http://127.0.0.1:9/"
                app.execute("SELECT webhook_create(%s, %s, %s::regclass)", [table, url, f"app.{table}"])
                if not receiver:
                    app.execute("SELECT webhook_pause(%s)", [table])

    def on(self, server):
        """The same in a copy of the server."""
        other = copy.copy(self)
        other.server = server
        return other

    def connect(self, role="writer", **options):
        return self.server.connect(self.name, user=role, **options)

    def judge(self, **options):
        return self.server.connect(self.name, **options)

    def add(self, count=3):
        """Rows, one statement for each, from two sessions in turn; returns their ids in that order."""
        with self.connect() as one, self.connect() as other:
            rows = [
                (one, other)[number % 2].execute("INSERT INTO app.orders (v) VALUES (1) RETURNING id").fetchone()[0]
                for number in range(count)
            ]
        found = dict((payload["record"]["id"], id) for id, payload in self.events() if payload.get("table") == "orders")
        return [found[row] for row in rows]

    def events(self):
        """Ids and bodies."""
        with self.judge() as judge:
            return [(id, json.loads(body)) for id, body in judge.execute("SELECT id, payload FROM webhook.event")]

    def check(self):
        """No id twice, all exact in JavaScript, none beyond the mark; returns how many there are."""
        with self.judge() as judge:
            count, distinct, least, largest, mark = judge.execute(
                "SELECT count(*), count(DISTINCT id), min(id), max(id), (SELECT last_value FROM webhook.delivery_id_seq)"
                " FROM webhook.event"
            ).fetchone()
        assert count == distinct and 0 < least and largest <= LARGEST and largest < mark
        return count


@pytest.fixture
def site(own_cluster):
    return Site(own_cluster())


def outcome(connection, statement):
    """What a statement returns, or its SQLSTATE."""
    try:
        return connection.execute(statement).fetchone()[0]
    except psycopg.Error as error:
        return error.diag.sqlstate


# What an application can ask of its session, between its writes.
QUESTIONS = [
    "SELECT lastval()",
    "SELECT currval('{schema}.orders_id_seq')",
    "SELECT count(*) FROM pg_prepared_statements",
    "SELECT count(*) FROM pg_cursors",
    "SELECT coalesce(string_agg(name || '=' || setting, ' ' ORDER BY name), '') FROM pg_settings WHERE source = 'session'",
    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid' AND relation::regclass::text <> 'pg_locks'",
    "SELECT count(*) FROM pg_class WHERE relpersistence = 't'",
]
WRITES = [
    "INSERT INTO {schema}.items VALUES (1, 1)",
    "INSERT INTO {schema}.orders (v) VALUES (1)",
    "INSERT INTO {schema}.items VALUES (2, 1)",
    "UPDATE {schema}.orders SET v = 2",
    "INSERT INTO {schema}.orders (v) VALUES (1), (2)",
    "DELETE FROM {schema}.items",
    "DISCARD SEQUENCES",
    "INSERT INTO {schema}.items VALUES (3, 1)",
    "INSERT INTO {schema}.orders (v) VALUES (1)",
    "DISCARD ALL",
    "INSERT INTO {schema}.items VALUES (4, 1)",
]


@pytest.mark.parametrize("preload", ["'pg_webhook'", "''"])
def test_the_session_is_as_without_us(own_cluster, preload):
    site = Site(own_cluster(shared_preload_libraries=preload))
    seen = {}
    for schema in ("plain", "app"):
        with site.connect(prepare_threshold=None) as writer:
            seen[schema] = []
            for write in WRITES:
                writer.execute(write.format(schema=schema))
                seen[schema].append([outcome(writer, question.format(schema=schema)) for question in QUESTIONS])
    assert seen["app"] == seen["plain"]
    asked = [answers[:2] for answers in seen["app"]]
    assert asked[0] == ["55000", "55000"], "nothing has been drawn"
    assert asked[1] == asked[2] == [1, 1] and asked[4] == asked[5] == [3, 3]
    assert asked[7] == asked[10] == ["55000", "55000"], "nor after DISCARD"
    assert site.check() == 11


@pytest.mark.parametrize("preload", ["'pg_webhook'", "''"])
def test_no_lock_stays_with_a_transaction(own_cluster, preload):
    site = Site(own_cluster(shared_preload_libraries=preload))
    with site.connect(autocommit=False) as writer, site.judge() as judge:
        writer.execute("INSERT INTO app.orders (v) SELECT 1 FROM generate_series(1, 1000)")
        held = judge.execute(
            "SELECT locktype, coalesce(relation::regclass::text, '') FROM pg_locks WHERE pid = %s", [writer.info.backend_pid]
        ).fetchall()
        kinds = {kind for kind, _ in held}
        assert kinds <= {"relation", "virtualxid", "transactionid"}, held
        assert not [name for _, name in held if "delivery_id_seq" in name], held
        # Another one draws ids meanwhile, and a long one does not keep it.
        assert len(site.add(2)) == 2
        writer.rollback()
    assert site.check() == 2


def test_a_write_needs_no_patience(site):
    """Raising the mark waits for no lock that a session can hold for long, or give up waiting for."""
    far_behind(site)
    with site.connect(autocommit=False) as long, site.connect() as hasty:
        long.execute("INSERT INTO app.items VALUES (1, 1)")
        hasty.execute("SET lock_timeout = 1")
        hasty.execute("INSERT INTO app.orders (v) SELECT 1 FROM generate_series(1, 120000)")
        long.rollback()
    assert site.check() == 120_001


def test_changes_of_a_row_have_growing_ids(site):
    site.add(1)
    with site.connect("app") as app:
        app.execute("INSERT INTO app.items VALUES (1, 0)")

    def count(_):
        with site.connect() as writer:
            for _ in range(100):
                writer.execute("UPDATE app.items SET v = v + 1 WHERE id = 1")

    concurrently(count, 4)
    changes = sorted((id, body["record"]["v"]) for id, body in site.events() if body["table"] == "items")
    assert [v for _, v in changes] == list(range(401))


def test_many_writers_never_get_the_same(site):
    far_behind(site)

    def write(_):
        with site.connect() as writer:
            for _ in range(10):
                writer.execute("INSERT INTO app.orders (v) SELECT 1 FROM generate_series(1, 3000)")

    concurrently(write, 8)
    assert site.check() == 240_001


def far_behind(site):
    """Set the clock so far behind the ids that the mark is raised by their number, every 100,000 or so."""
    site.add(1)
    site.server.crash()
    start(site.server, -1)


def concurrently(work, count):
    failed = []

    def run(number):
        try:
            work(number)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def kill_the_server(server):
    """All of its processes, as a machine does that loses power: nobody gets to say or write anything."""
    postmaster = server.postmaster_pid()
    processes = [postmaster, *children_of(postmaster)]
    for process in processes:
        server.signal_process(process)
    wait_until(lambda: not any(os.path.exists(f"/proc/{process}") for process in processes), "the end of the server", 60)


def children_of(parent):
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as file:
                pid, rest = file.read().split(" (", 1)
        except OSError:
            continue
        if int(rest.rpartition(") ")[2].split()[1]) == parent:
            yield int(pid)


def start(server, days=0):
    """Start with the clock set by so many days."""
    if not days:
        return server.start()
    clock = Clock(server)
    clock.set(days * 24 * 3600)
    return server.start(**clock.environment())


def kill_a_backend(site):
    """As the kernel does where memory is short: the server restarts with empty shared memory."""
    before = len(site.server.log_text())
    with site.connect() as victim:
        site.server.signal_process(victim.info.backend_pid)
        # Until the server has noticed, it lets others in and ends them a moment later.
        wait_until(lambda: site.server.log_lines("all server processes terminated", before), "the server to notice")
        wait_until(lambda: outcome_of_connecting(site), "the server to be back")


def outcome_of_connecting(site):
    try:
        with site.connect() as writer:
            return writer.execute("SELECT pg_postmaster_start_time() IS NOT NULL").fetchone()[0]
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize("preload", ["'pg_webhook'", "''"])
def test_ids_grow_over_every_end_and_every_clock(own_cluster, preload):
    site = Site(own_cluster(shared_preload_libraries=preload))
    server = site.server
    drawn = site.add()
    for days in (0, -1, 0, 1, -30, 0):
        server.stop()
        start(server, days)
        drawn += site.add()
        server.crash()
        start(server, days)
        drawn += site.add()
        server.configure(restart_after_crash="on")
        kill_a_backend(site)
        drawn += site.add()
    assert drawn == sorted(drawn) and site.check() == len(drawn) == len(set(drawn))


def test_with_and_without_preloading_in_turn(own_cluster):
    site = Site(own_cluster(shared_preload_libraries="''"))
    drawn = site.add()
    for preload in ("'pg_webhook'", "''") * 2:
        site.server.stop("immediate" if len(drawn) % 2 else "fast")
        site.server.configure(shared_preload_libraries=preload)
        site.server.start()
        drawn += site.add()
    assert drawn == sorted(drawn) and site.check() == len(set(drawn))


def test_a_copy_begins_beyond_the_original(own_cluster):
    site = Site(own_cluster())
    drawn = site.add()
    copied = site.server.copy()
    try:
        # What the original does after the copy was made, the copy does not know.
        drawn += site.add(50)
        start(copied)
        there = site.on(copied)
        others = there.add(50)
        assert there.check() == 53
        assert not set(drawn) & set(others) and min(others) > max(drawn)
    finally:
        copied.destroy()


def test_a_promoted_standby_goes_on(own_cluster):
    site = Site(own_cluster())
    standby = site.server.copy()
    try:
        (standby.data / "standby.signal").touch()
        standby.configure(primary_conninfo=f"'host={site.server.folder} port={site.server.port} user=postgres'")
        start(standby, -1)
        drawn = site.add(50)
        with site.judge() as judge:
            written = judge.execute("SELECT pg_current_wal_lsn()").fetchone()
        with standby.connect() as there:
            wait_until(lambda: there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written).fetchone()[0], "replay")
        site.server.crash()
        standby.promote()
        promoted = site.on(standby)
        drawn += promoted.add(50)
        assert promoted.check() == 100 and drawn == sorted(drawn)
    finally:
        standby.destroy()


@pytest.mark.parametrize("days", [0, -1])
def test_a_prepared_transaction_outlives_a_crash_with_its_ids(own_cluster, receiver, days):
    server = own_cluster(restart_after_crash="on")
    site = Site(server, receiver)
    with site.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO app.orders (v) VALUES (100), (100)")
        writer.execute("PREPARE TRANSACTION 'two'")
    site.add()
    kill_a_backend(site)
    site.add()
    server.crash()
    start(server, days)
    site.add()
    with site.connect() as writer:
        writer.execute("COMMIT PREPARED 'two'")
    site.add()
    assert site.check() == 14
    wait_until(lambda: len({request.id for request in receiver.got()}) == 14, "all to arrive")
    bodies = {}
    for request in receiver.got():
        assert bodies.setdefault(request.id, request.body) == request.body


@pytest.mark.parametrize("preload", ["'pg_webhook'", "''"])
@pytest.mark.parametrize("days", [-1, 0, 1])
def test_a_prepared_transaction_outlives_kill_9_and_a_clock_that_is_set(own_cluster, receiver, preload, days):
    """Nothing is written at the end; the clock is another at the start; what was prepared is committed after that."""
    server = own_cluster(shared_preload_libraries=preload)
    site = Site(server, receiver if "pg" in preload else None)
    drawn = site.add()
    with site.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO app.orders (v) SELECT 100 FROM generate_series(1, 5)")
        writer.execute("PREPARE TRANSACTION 'five'")
    drawn += site.add()
    # One that is not prepared has drawn ids as well, and is gone.
    lost = site.connect(autocommit=False)
    lost.execute("INSERT INTO app.orders (v) SELECT 200 FROM generate_series(1, 5)")
    kill_the_server(server)
    start(server, days)
    drawn += site.add(50)
    with site.connect() as writer:
        assert writer.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone() == (1,)
        writer.execute("COMMIT PREPARED 'five'")
    drawn += site.add()
    assert drawn == sorted(drawn) and site.check() == len(drawn) + 5 == 64
    assert sum(body["record"]["v"] == 100 for _, body in site.events()) == 5
    if site.sends:
        wait_until(lambda: len({request.id for request in receiver.got()}) == 64, "all to arrive", 60)
        bodies = {}
        for request in receiver.got():
            assert bodies.setdefault(request.id, request.body) == request.body


def test_a_new_extension_goes_on(site):
    drawn = site.add()
    for end in ("rollback", "commit", "rollback"):
        with site.judge(autocommit=False) as judge:
            judge.execute("DROP EXTENSION pg_webhook CASCADE; CREATE EXTENSION pg_webhook")
            judge.execute("SELECT webhook_grant('app', 'member'); SET LOCAL ROLE app")
            judge.execute("SELECT webhook_create('early', 'http://127.0.0.1:9/', events => '{early}')")
            assert judge.execute("SELECT webhook_emit('early', '{}')").fetchone() == (1,)
            judge.execute("RESET ROLE")
            drawn.append(judge.execute("SELECT max(id) FROM webhook.event").fetchone()[0])
            getattr(judge, end)()
        if end == "commit":
            site.watch()
        drawn += site.add()
    assert drawn == sorted(drawn) and len(drawn) == len(set(drawn))


def test_nothing_is_drawn_where_nothing_may_be_written(site):
    with site.connect("app") as app:
        app.execute("SELECT webhook_create('emitted', 'http://127.0.0.1:9/', events => '{told}')")
        app.execute("SET default_transaction_read_only = on")
        assert outcome(app, "SELECT webhook_emit('told', '{}')") == "25006"
        # A preview shows an id, and draws none.
        app.execute("SET default_transaction_read_only = off")
        mark = "SELECT last_value FROM webhook.delivery_id_seq"
        with site.judge() as judge:
            before = judge.execute(mark).fetchone()
            assert "evt_" in app.execute("SELECT body FROM webhook_preview('emitted', 'told')").fetchone()[0]
            assert judge.execute(mark).fetchone() == before


def test_nobody_but_the_owner_draws_or_reads(site):
    for role in ("app", "writer"):
        with site.connect(role) as connection:
            for statement in ("SELECT nextval('webhook.delivery_id_seq')", "SELECT webhook.next_id()",
                              "SELECT setval('webhook.delivery_id_seq', 1)", "SELECT last_value FROM webhook.delivery_id_seq"):
                assert outcome(connection, statement) == "42501"


def test_replays_draw_as_writers_do(own_cluster, receiver):
    site = Site(own_cluster(), receiver)
    drawn = site.add(5)
    with site.connect("app") as app:
        wait_until(lambda: counted(site) == {"delivered": 5}, "all to arrive")
        one = app.execute("SELECT webhook_replay(%s)", [drawn[0]]).fetchone()[0]
        wait_until(lambda: counted(site) == {"delivered": 6}, "it to arrive again")
        assert Session(app).job("webhook_replay_all('orders', status => 'delivered')") == 6
        assert outcome(app, "SELECT lastval()") == "55000"
        ids = [row[0] for row in app.execute("SELECT id FROM webhook.deliveries ORDER BY id")]
    assert ids[:5] == drawn and ids[5] == one and len(ids) == 12
    assert site.check() == 12
    wait_until(lambda: len(receiver.got()) == 12, "all to arrive")
    assert len({request.id for request in receiver.got()}) == 5, "a replay keeps the id of its event"


def double(site, failure=None):
    """Write an event as a server would that has lost its log and its clock: with the id of one that is
    there. Only the owner of the tables can. Returns that id."""
    with site.judge() as judge:
        return judge.execute(
            "INSERT INTO webhook.event (xid, id, created_at, webhook, slot, event_type, payload, failure)"
            " SELECT pg_current_xact_id(), d.id, now(), d.webhook, r.slot, 'INSERT', '{\"double\": true}', %s"
            " FROM webhook.delivery AS d, webhook.ring AS r RETURNING id",
            [failure],
        ).fetchone()[0]


def counted(site):
    with site.judge() as judge:
        return dict(judge.execute("SELECT status, count(*) FROM webhook.delivery GROUP BY status").fetchall())


@pytest.mark.parametrize("restart", [False, True])
def test_an_event_whose_id_is_in_the_backlog_gets_another(own_cluster, receiver, restart):
    site = Site(own_cluster(), receiver)
    receiver.default(reply(500))
    site.add(1)
    receiver.wait(1)
    wait_until(lambda: counted(site) == {"retrying": 1}, "it to wait")
    id = double(site)
    if restart:
        site.server.crash()
        site.server.start()
    wait_until(lambda: counted(site) == {"retrying": 2}, lambda: f"both to wait: {counted(site)}")
    receiver.default(reply(200))
    with site.connect("app") as app:
        app.execute("SELECT webhook_update('orders', retry_backoff_seconds => 1)")
    wait_until(lambda: counted(site) == {"delivered": 2}, lambda: f"both to arrive: {counted(site)}")
    assert_both_arrived(site, receiver, id)


def test_an_event_whose_id_is_under_way_gets_another(own_cluster, receiver):
    site = Site(own_cluster(), receiver)
    # Longer than the worker waits before it looks for what nothing has told it of.
    receiver.default(after(10, reply(200)))
    site.add(1)
    receiver.wait(1)
    id = double(site)
    wait_until(lambda: counted(site) == {"delivered": 2}, lambda: f"both to arrive: {counted(site)}")
    assert_both_arrived(site, receiver, id)


def test_an_event_whose_id_was_delivered_is_found_at_a_start(own_cluster, receiver):
    site = Site(own_cluster(), receiver)
    site.add(1)
    wait_until(lambda: counted(site) == {"delivered": 1}, "it to arrive")
    # The worker does not see it before it starts again.
    site.server.reload(pg_webhook__enabled="off")
    wait_until(lambda: enabled(site) == "off", "the switch")
    id = double(site)
    site.server.configure(pg_webhook__enabled="on")
    site.server.crash()
    site.server.start()
    wait_until(lambda: counted(site) == {"delivered": 2}, lambda: f"both to arrive: {counted(site)}")
    assert_both_arrived(site, receiver, id)


def test_an_event_without_a_body_keeps_its_reason_under_another_id(own_cluster, receiver):
    site = Site(own_cluster(), receiver)
    receiver.default(reply(500))
    site.add(1)
    wait_until(lambda: counted(site) == {"retrying": 1}, "it to wait")
    id = double(site, failure="the transform failed")
    with site.judge() as judge:
        waiting = "SELECT count(*) FROM webhook.pending"
        wait_until(lambda: judge.execute(waiting).fetchone() == (2,), "both to be in the backlog")
        assert judge.execute("SELECT delivery FROM webhook.closed WHERE how = 'renewed'").fetchall() == [(id,)]
        assert judge.execute("SELECT error, attempts FROM webhook.dead_letters").fetchall() == [("the transform failed", 0)]
    assert not [request for request in receiver.got() if b"double" in request.body]


def enabled(site):
    with site.judge() as judge:
        return judge.execute("SHOW pg_webhook.enabled").fetchone()[0]


def assert_both_arrived(site, receiver, id):
    """Under different ids, and somebody was told."""
    arrived = {(request.id, request.body) for request in receiver.got() if request.answered == 200}
    assert len(arrived) == 2 and len({number for number, _ in arrived}) == 2
    assert [number for number, body in arrived if number.endswith(f"_{id}") and b"double" not in body]
    assert site.server.log_lines(rf"1 events have the ids of other deliveries, {id} the first")
    with site.judge() as judge:
        assert judge.execute("SELECT delivery FROM webhook.closed WHERE how = 'renewed'").fetchall() == [(id,)]


def test_managing_webhooks_leaves_no_trace_either(site):
    with site.connect("app") as app:
        app.execute("SELECT webhook_create('more', 'http://127.0.0.1:9/', 'plain.items')")
        app.execute("SELECT webhook_emit('a.b', '{}')")
        app.execute("SELECT webhook_delete('more')")
        assert outcome(app, "SELECT lastval()") == "55000"
        app.execute("INSERT INTO plain.orders (v) VALUES (1)")
        app.execute("SELECT webhook_create('more', 'http://127.0.0.1:9/', 'plain.items')")
        assert outcome(app, "SELECT lastval()") == 1
