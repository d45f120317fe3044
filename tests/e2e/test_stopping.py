"""An orderly stop: nothing that was answered is sent again, and nobody waits for it for long."""

import json
import time

import pytest

from harness import wait_until
from harness.receiver import after, hang, reply

# Seconds that a stop may take, by docs/guarantees.md.
LIMIT = 3

# How long a receiver takes that answers while the worker stops.
SLOW = 0.05


def prepare(db, receiver, **settings):
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1, **settings)


class Load:
    """Rows that are inserted, and what the receiver has answered of them."""

    def __init__(self, db, receiver):
        self.db, self.receiver, self.last = db, receiver, 0

    def insert(self, count):
        self.db.run("INSERT INTO items SELECT %s + i FROM generate_series(1, %s::int) i", self.last, count)
        self.last += count

    def answered(self):
        return [json.loads(r.body)["record"]["id"] for r in self.receiver.got("/") if r.answered == 200]

    def verify(self):
        """All have arrived, and none has been answered twice."""
        self.db.wait_for_status(self.last)
        answered = self.answered()
        assert set(answered) == set(range(1, self.last + 1))
        again = sorted({i for i in answered if answered.count(i) > 1})
        assert not again, f"{len(again)} were sent again, for example {again[:5]}"


def waits_for_a_lock(db, pid):
    return wait_until(
        lambda: db.judge.value("SELECT true FROM pg_locks WHERE pid = %s AND NOT granted", pid), "the worker to wait for a lock"
    )


def ended(db, pid):
    return db.judge.value("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == 0


def reconnect(server, db):
    db.judge.connection, db.connection = server.connect(db.name), db.connect()


@pytest.fixture
def busy(own_cluster, make_db, receiver):
    """A server with a database whose worker has much to do, and the load."""
    server = own_cluster()
    db = make_db(server)
    prepare(db, receiver, max_concurrency=20)
    receiver.default(after(SLOW, reply(200)))
    return server, db, Load(db, receiver)


def test_what_is_answered_is_not_repeated_whoever_stops_the_worker(busy, receiver):
    server, db, load = busy
    admin = server.connect()

    def stop():
        db.close()
        server.stop("fast")
        server.start()
        reconnect(server, db)

    def terminate():
        assert db.judge.value("SELECT pg_terminate_backend(pid) FROM webhook.worker")

    def disable():
        server.reload(pg_webhook__enabled="off")
        server.reload(pg_webhook__enabled="on")

    def switch():
        db.judge.run("SELECT webhook_stop()")
        db.judge.run("SELECT webhook_start()")

    def copy():
        db.close()
        admin.execute(f"ALTER DATABASE {db.name} SET TABLESPACE pg_default")
        admin.execute(f"CREATE DATABASE twin TEMPLATE {db.name}")
        reconnect(server, db)

    for how in (terminate, copy, disable, switch, terminate, stop):
        load.insert(150)
        receiver.wait(len(receiver.got()) + 60)
        how()
        load.verify()


def test_what_is_not_logged_is_not_repeated_either(own_cluster, make_db, receiver):
    """Of a transaction of which not all is delivered the cursor says nothing."""
    server = own_cluster(pg_webhook__log_level="none")
    db = make_db(server)
    prepare(db, receiver)
    receiver.default(after(SLOW, reply(200)))
    load = Load(db, receiver)
    load.insert(100)
    receiver.wait(40)
    assert db.judge.value("SELECT pg_terminate_backend(pid) FROM webhook.worker")
    load.verify()


def beside_one_that_hangs(own_cluster, make_db, receiver, **settings):
    """A database that logs no delivery, and whose cursor stays before an event that waits for its first answer."""
    server = own_cluster(pg_webhook__log_level="none", **settings)
    db = make_db(server)
    prepare(db, receiver)
    db.run("CREATE TABLE slow (id int, body text)")
    db.create("silent", receiver.url("/silent"), table_name="slow", timeout_seconds=120)
    receiver.on("/silent", hang())
    db.run("INSERT INTO slow VALUES (1, '')")
    receiver.wait(1, "/silent")
    return server, db


def test_what_is_delivered_by_a_retry_and_not_logged_is_not_repeated_either(own_cluster, make_db, receiver):
    _, db = beside_one_that_hangs(own_cluster, make_db, receiver)
    receiver.on("/", reply(500), reply(200))
    load = Load(db, receiver)
    load.insert(1)
    receiver.wait(2, "/")
    wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending WHERE attempts > 0") == 0, "it to be written down")
    assert db.judge.value("SELECT pg_terminate_backend(pid) FROM webhook.worker")
    receiver.wait(2, "/silent")
    load.insert(1)
    receiver.wait(3, "/")
    assert sorted(load.answered()) == [1, 2]


def test_what_is_delivered_by_a_retry_while_the_ring_is_read_again_is_not_repeated(own_cluster, make_db, receiver):
    """A start reads what is behind the cursor again; what waits in the backlog goes out meanwhile."""
    server, db = beside_one_that_hangs(own_cluster, make_db, receiver)
    load = Load(db, receiver)
    # More than is read at once, and it does not compress.
    db.run(
        "INSERT INTO slow SELECT 1, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 30000) n)"
        " FROM generate_series(1, 60) i"
    )
    receiver.on("/", reply(500), reply(200))
    load.insert(1)
    receiver.wait(1, "/")
    wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending WHERE attempts > 0") == 1, "it to wait")
    db.close()
    server.stop("fast")
    receiver.on("/silent", after(SLOW, reply(200)))
    time.sleep(1)
    server.start()
    reconnect(server, db)
    load.insert(1)
    receiver.wait(3, "/")
    wait_until(lambda: sum(r.answered == 200 for r in receiver.got("/silent")) == 61, "the others")
    assert sorted(load.answered()) == [1, 2]


@pytest.mark.parametrize("how", ["terminated", "stopped"])
def test_a_stop_inside_a_statement_repeats_nothing(busy, receiver, how):
    server, db, load = busy
    receiver.default(reply(200))
    receiver.on("/", reply(500), reply(200))
    load.insert(1)
    receiver.wait(1)
    pid = db.judge.value("SELECT pid FROM webhook.worker")
    holder = server.connect(db.name, autocommit=False)
    # Reading what is due goes on, writing does not.
    holder.execute("LOCK TABLE webhook.pending, webhook.attempt IN SHARE MODE")
    load.insert(100)
    waits_for_a_lock(db, pid)
    receiver.wait(100)
    if how == "terminated":
        assert db.judge.value("SELECT pg_terminate_backend(%s)", pid)
        # It tries once more, and somebody is in its way again, but not for ever.
        time.sleep(0.3)
        holder.rollback()
        wait_until(lambda: ended(db, pid), "the worker to end")
    else:
        began = time.monotonic()
        server.stop("fast")
        assert time.monotonic() - began < LIMIT
        server.start()
        reconnect(server, db)
    load.verify()


def test_a_stop_ends_although_nothing_can_be_written(busy, receiver):
    server, db, load = busy
    pid = db.judge.value("SELECT pid FROM webhook.worker")
    receiver.default(hang())
    receiver.on("/", *[reply(200)] * 5, hang())
    with server.connect(db.name, autocommit=False) as holder:
        holder.execute("LOCK TABLE webhook.pending, webhook.attempt IN SHARE MODE")
        load.insert(20)
        receiver.wait(20)
        waits_for_a_lock(db, pid)
        began = time.monotonic()
        assert db.judge.value("SELECT pg_terminate_backend(%s)", pid)
        wait_until(lambda: ended(db, pid), "the worker to end")
        assert time.monotonic() - began < LIMIT
        holder.rollback()
    receiver.on("/", reply(200))
    db.wait_for_status(20)
