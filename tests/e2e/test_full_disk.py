"""A server whose disk is full for a while: it is told once, with what to do, nothing is lost, and it is over by itself."""

import json
import time

import psycopg
import pytest

from harness import Cluster, wait_until
from harness.disk import Disk

#: Attempts that wait to be written: more than the log has room for, and less than may wait.
MANY = 350


@pytest.fixture
def small():
    """Makes servers, each with its disk."""
    made = []

    def make(initdb=(), **settings):
        server = Cluster("small", initdb=initdb, jit="off", **settings)
        made.append(server)
        disk = Disk(server)
        return server.start(**disk.environment()), disk

    yield make
    for server in made:
        server.destroy()


def prepare(db, receiver, **settings):
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items", **settings)


def arrived(receiver):
    return [json.loads(request.body)["record"]["id"] for request in receiver.got()]


def test_a_full_disk_is_told_once_and_repeats_nothing(small, make_db, receiver):
    server, disk = small()
    db = make_db(server)
    prepare(db, receiver)
    # What is written later has room where this was; its entries in an index have it, too.
    with db.connect(autocommit=False) as other:
        other.execute("INSERT INTO items SELECT -i FROM generate_series(1, 500) AS i")
        receiver.hold()
        db.run("INSERT INTO items SELECT i FROM generate_series(1, %s::int) AS i", MANY)
        receiver.wait(10)
        other.rollback()
    db.run("VACUUM items")
    db.run("VACUUM webhook.event_0")
    worker = db.worker()
    undone = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    disk.fill()
    receiver.release()
    [told] = wait_until(lambda: server.log_lines("pg_webhook: .*trying again"), "to be told")
    # Commits wake the worker, which does not try more often for that.
    before = db.value(undone)
    for i in range(1, 101):
        db.run("INSERT INTO items VALUES (%s)", MANY + i)
        time.sleep(0.03)
    assert "No space left on device" in told and "Check free disk space" in told
    assert "No space left on device" in db.value("SELECT last_error FROM webhook.worker")
    assert db.value(undone) - before < 20
    disk.fill(False)
    db.wait_for_status(MANY + 100)
    assert sorted(arrived(receiver)) == list(range(1, MANY + 101)), "each once"
    wait_until(lambda: server.log_lines("working again"), "an end of it")
    assert db.worker() == worker and db.value("SELECT last_error FROM webhook.worker") is None
    assert len(server.log_lines("trying again")) == len(server.log_lines("working again")) == 1


def test_a_server_that_a_full_disk_has_stopped_goes_on(small, make_db, receiver):
    """Where there is no room for the log of changes, PostgreSQL stops, and does not start until there is."""
    server, disk = small(initdb=["--wal-segsize=1"], min_wal_size="'2MB'", max_wal_size="'2MB'")
    db = make_db(server)
    prepare(db, receiver)
    last = 500
    db.run("INSERT INTO items SELECT generate_series(1, %s::int)", last)
    disk.fill()
    with pytest.raises(psycopg.OperationalError):
        for _ in range(5000):
            try:
                db.run("INSERT INTO items SELECT generate_series(%s::int, %s::int)", last + 1, last + 20)
                last += 20
            except psycopg.errors.DiskFull:
                # A table that cannot grow fills no log. This does nothing else.
                db.run("SELECT pg_logical_emit_message(false, 'more', repeat('x', 500000))")
    # It may have room for the end of its recovery, but no more.
    disk.fill(False)

    def back():
        if not server.running():
            server.start(**disk.environment())
        try:
            db.connection = server.connect(db.name)
        except psycopg.OperationalError:
            return False
        return True

    wait_until(back, "the server to be back", interval=0.1)
    db.settled()
    written = [i for (i,) in db.rows("SELECT id FROM items")]
    assert len(written) >= last
    requests = arrived(receiver)
    assert set(requests) == set(written), "nothing lost, nothing made up"
    # As after any crash, by docs/guarantees.md; here the server has had two at the most.
    assert len(requests) - len(written) <= 2 * (100 + 1024)
