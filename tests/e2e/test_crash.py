"""Crashes under load: what was committed arrives, what was not does not, and nothing arrives too often.

The verdict is that of a queue that is drained after the faults: every event of an acknowledged commit
was delivered, none of a rolled-back transaction was, and whatever was delivered twice is the same
event with the same bytes."""

import collections
import contextlib
import json
import os
import random
import signal
import threading
import time

import psycopg
import pytest

from harness import wait_until
from harness.receiver import reply
from harness.verify import verify_python

CRASHES = 12
CONCURRENCY = 10
HOOKS = 2
# Per crash: requests under way, and outcomes that had not been written down (see src/delivery/pool.rs
# and src/worker/ledger.rs).
REPEATS = HOOKS * CONCURRENCY + 512 + 512


class Writers:
    """Clients that insert rows with ids of their own and note how each transaction ended."""

    def __init__(self, server, database, count, synchronous):
        self.server, self.database, self.synchronous = server, database, synchronous
        self.committed, self.rolled_back, self.unknown = set(), set(), set()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self._threads:
            thread.join()

    def _ids(self, count):
        with self._lock:
            self._next += count
            return range(self._next - count + 1, self._next + 1)

    def _run(self, number):
        choose = random.Random(number)
        while not self.stopping.is_set():
            try:
                with self.server.connect(self.database, autocommit=False) as connection:
                    connection.execute(f"SET synchronous_commit = {self.synchronous}")
                    connection.commit()
                    while not self.stopping.is_set():
                        self._transaction(connection, choose)
            except psycopg.OperationalError:
                time.sleep(0.05)  # the server is down; try again

    def _transaction(self, connection, choose):
        ids = list(self._ids(choose.choice([1, 1, 1, 5, 20])))
        inserted = set(ids)
        outcome = self.unknown
        try:
            half = len(ids) // 2
            connection.cursor().executemany("INSERT INTO items VALUES (%s)", [[i] for i in ids[:half]])
            if choose.random() < 0.3:
                connection.execute("SAVEPOINT s")
                gone = list(self._ids(2))
                connection.cursor().executemany("INSERT INTO items VALUES (%s)", [[i] for i in gone])
                connection.execute("ROLLBACK TO s")
                self.rolled_back.update(gone)
            connection.cursor().executemany("INSERT INTO items VALUES (%s)", [[i] for i in ids[half:]])
            if choose.random() < 0.2:
                connection.rollback()
                outcome = self.rolled_back
            else:
                connection.commit()
                # Without waiting for the disk an acknowledged commit may be lost: that is the bargain.
                outcome = self.committed if self.synchronous == "on" else self.unknown
        finally:
            outcome.update(inserted)


def judge(db, receiver, writers, secret, crashes):
    """Compare what arrived with what the writers know."""
    arrived = collections.defaultdict(list)
    for request in receiver.got():
        if request.answered == 200:
            verify_python(secret[request.path], request)
            arrived[request.path, json.loads(request.body)["record"]["id"]].append(request)
    rows = {row[0] for row in db.rows("SELECT id FROM items")}
    paths = sorted(secret)
    delivered = {path: {key for other, key in arrived if other == path} for path in paths}
    for path in paths:
        lost = writers.committed - delivered[path]
        phantom = delivered[path] & writers.rolled_back | delivered[path] - rows
        assert not lost, f"{len(lost)} lost, for example {sorted(lost)[:5]}"
        assert not phantom, f"{len(phantom)} of nothing, for example {sorted(phantom)[:5]}"
        assert delivered[path] == rows
    repeated = sum(len(requests) - 1 for requests in arrived.values())
    assert repeated <= crashes * REPEATS
    for requests in arrived.values():
        assert len({(r.id, r.body) for r in requests}) == 1
    statuses = db.statuses()
    assert statuses == {"delivered": len(rows) * len(paths)}
    print(f"\n{crashes} crashes, {len(rows) * len(paths)} events, lost 0, phantom 0, repeated {repeated}")


@pytest.mark.parametrize("synchronous", ["on", "off"])
def test_immediate_stops_under_load(own_cluster, make_db, receiver, synchronous):
    server = own_cluster(wal_writer_delay="'10s'" if synchronous == "off" else "'200ms'")
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    secret = {}
    for number in range(HOOKS):
        path = f"/{number}"
        hook = db.create(f"hook{number}", receiver.url(path), table_name="items",
                         max_concurrency=CONCURRENCY, retry_backoff_seconds=1)
        secret[path] = hook["secret"]
    # Some answers fail, so that the backlog takes part.
    receiver.on("/1", *[reply(500 if n % 50 == 0 else 200) for n in range(5000)], reply(200))
    choose = random.Random(synchronous)
    writers = Writers(server, db.name, 4, synchronous)
    crashes = CRASHES if synchronous == "on" else CRASHES // 2
    for _ in range(crashes):
        before = len(receiver.got())
        receiver.wait(before + choose.randrange(50, 1500))
        server.crash()
        server.start()
    receiver.wait(len(receiver.got()) + 200)
    writers.stop()
    db.connection = server.connect(db.name)
    db.settled(timeout=120)
    judge(db, receiver, writers, secret, crashes)
    assert len(writers.committed if synchronous == "on" else writers.unknown) > 1000
    assert len(writers.rolled_back) > 100


def test_nothing_is_announced_that_a_crash_takes_back(own_cluster, make_db, receiver):
    server = own_cluster(wal_writer_delay="'10s'", autovacuum="off")
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    announced = []

    async def pull_the_plug(connection):
        os.kill(server.postmaster_pid(), signal.SIGQUIT)
        await connection.until_closed()

    for number in range(1, 11):
        receiver.on("/", pull_the_plug)
        before = len(receiver.got())
        db.run("SET synchronous_commit = off")
        # The request can arrive, and end the server, before the client has been told of its commit.
        with contextlib.suppress(psycopg.OperationalError):
            db.run("INSERT INTO items VALUES (%s)", number)
        receiver.wait(before + 1)
        announced.append(number)
        wait_until(lambda: not server.running(), "the server to be gone")
        receiver.on("/", reply(200))
        server.start()
        db.connection = server.connect(db.name)
        assert [row[0] for row in db.rows("SELECT id FROM items ORDER BY id")] == announced
        db.wait_for_status(number)


def test_the_first_window_of_a_run_is_on_disk_before_it_is_sent(own_cluster, make_db, receiver):
    server = own_cluster(wal_writer_delay="'10s'", autovacuum="off")
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    # The session knows the webhook from now on, and does not read about it again.
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    worker = db.wait_for_worker()
    with server.connect(db.name) as observer, server.connect(db.name, autocommit=False) as holder:
        # The next worker begins, and comes as far as its first look.
        holder.execute("LOCK TABLE webhook.webhook IN ACCESS EXCLUSIVE MODE")
        observer.execute("SELECT pg_terminate_backend(%s)", [worker])

        def waits(after=None):
            return observer.execute(
                "SELECT waitstart FROM pg_locks WHERE pid <> %s AND NOT granted AND relation = 'webhook.webhook'::regclass"
                " AND (%s::timestamptz IS NULL OR waitstart > %s)", [worker, after, after],
            ).fetchone()

        first = wait_until(waits, "the worker to wait for the lock")[0]
        db.run("SET synchronous_commit = off")
        db.run("INSERT INTO items VALUES (2)")
        # It has given up, and looks again with a snapshot that sees the event.
        wait_until(lambda: waits(first), "the worker to wait for the lock again")

        async def pull_the_plug(connection):
            os.kill(server.postmaster_pid(), signal.SIGQUIT)
            await connection.until_closed()

        told = f"the worker cannot begin: .*locked by process {holder.info.backend_pid} of role postgres.*trying again"
        wait_until(lambda: server.log_lines(told), "the log to say who is in the way")
        receiver.on("/", pull_the_plug)
        holder.rollback()
        receiver.wait(2)
        wait_until(lambda: not server.running(), "the server to be gone")
    receiver.on("/", reply(200))
    server.start()
    db.connection = server.connect(db.name)
    assert db.rows("SELECT id FROM items ORDER BY id") == [(1,), (2,)]
    db.wait_for_status(2)


def test_an_event_that_crashes_the_worker_becomes_a_dead_letter(own_cluster, make_db, receiver):
    server = own_cluster(restart_after_crash="on")
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("good", receiver.url("/good"), table_name="items", condition="NEW.id <> 500", events=["INSERT"])
    db.create("bad", receiver.url("/bad"), table_name="items", condition="NEW.id = 500", events=["INSERT"])
    kills = []

    async def kill(connection):
        worker = worker_pid(server)
        kills.append(worker)
        os.kill(worker, signal.SIGKILL)
        await connection.until_closed()

    receiver.on("/bad", kill)
    db.run("INSERT INTO items SELECT i FROM generate_series(1, 1000) i")

    def finished():
        try:
            with server.connect(db.name) as connection:
                return connection.execute(
                    "SELECT count(*) FILTER (WHERE status = 'delivered'),"
                    " count(*) FILTER (WHERE status = 'dead') FROM webhook.deliveries"
                ).fetchone() == (999, 1)
        except psycopg.OperationalError:
            return False

    wait_until(finished, "all but one to be delivered", 120, interval=0.2)
    assert len(kills) == 4, "twice among others, twice alone"
    db.connection = server.connect(db.name)
    [(webhook, error)] = db.rows("SELECT webhook, error FROM webhook.deliveries WHERE status = 'dead'")
    assert webhook == "bad" and "crashed" in error
    # Its endpoint is as good as any: the next event goes out, and the dead letter can be replayed.
    receiver.on("/bad", reply(200))
    db.run("SELECT webhook_replay(id) FROM webhook.deliveries WHERE status = 'dead'")
    db.wait_for_status(1000)


def worker_pid(server):
    """Found without the server's help: it is what is about to be killed."""
    postmaster = server.postmaster_pid()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = open(f"/proc/{entry}/stat").read()
                command = open(f"/proc/{entry}/cmdline").read()
            except OSError:
                continue
            if int(status.rsplit(")", 1)[1].split()[1]) == postmaster and "pg_webhook worker" in command:
                return int(entry)
    raise AssertionError("no worker")
