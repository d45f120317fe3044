"""What one endpoint, or somebody who is in the way of our own writing, costs the events of the others: nothing that
takes seconds. A flow of fresh events goes to an endpoint that is well while something else is not."""

import datetime
import json
import signal
import threading
import time

import pytest

from harness import wait_until
from harness.clock import Clock
from harness.receiver import after, reply

#: A body that is nearly as large as it may be by default.
LARGE = "repeat(md5(i::text), 30000)"

#: Seconds that a fresh event of an endpoint that is well may take on a machine that is busy with other tests. What is
#: kept back by others took from two seconds to half a minute.
SOON = 1.5


class Fresh:
    """One event each twentieth of a second, to an endpoint of its own that is well; as a context."""

    def __init__(self, db, receiver):
        self.db, self.receiver, self.path = db, receiver, "/well"
        db.run("CREATE TABLE fresh (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
        db.create("well", receiver.url(self.path), table_name="fresh")
        db.run("INSERT INTO fresh DEFAULT VALUES")
        receiver.wait(1, self.path)
        self._end = threading.Event()
        self.count = 1

    def __enter__(self):
        self._writer = threading.Thread(target=self._write)
        self._writer.start()
        return self

    def _write(self):
        with self.db.connect() as connection:
            while not self._end.wait(0.05):
                connection.execute("INSERT INTO fresh DEFAULT VALUES")
                self.count += 1

    def __exit__(self, *_):
        self._end.set()
        self._writer.join()

    def lags(self):
        """How long each has taken, sorted, once all are there; each once."""
        requests = self.receiver.wait(self.count, self.path)
        assert len({r.id for r in requests}) == len(requests) == self.count, "each once"
        at = [datetime.datetime.fromisoformat(json.loads(r.body)["record"]["at"]).timestamp() for r in requests]
        lags = sorted(r.time - at for r, at in zip(requests, at, strict=True))
        print(" ".join(f"p{part}={1000 * lags[min(len(lags) - 1, len(lags) * part // 100)]:.0f}ms" for part in (50, 90, 99, 100)))
        return lags


@pytest.mark.alone
def test_large_bodies_behind_a_rate_limit_keep_nobody_back(db, receiver):
    db.run("CREATE TABLE large (id int, note text)")
    db.create("limited", receiver.url("/limited"), table_name="large", rate_limit=1)
    with Fresh(db, receiver) as fresh:
        db.run(f"INSERT INTO large SELECT i, {LARGE} FROM generate_series(1, 150) AS i")
        time.sleep(2.5)
    assert fresh.lags()[-1] < SOON


@pytest.mark.alone
@pytest.mark.parametrize("settings", [{"rate_limit": 1}, {}], ids=["limited", "slow"])
def test_bodies_of_many_slow_endpoints_keep_nobody_back(db, receiver, settings):
    db.run("CREATE TABLE slow (id int, note text)")
    for number in range(100):
        db.create(f"slow{number}", receiver.url(f"/slow/{number}"), table_name="slow", **settings)
        if not settings:
            receiver.on(f"/slow/{number}", after(1, reply(200)))
    with Fresh(db, receiver) as fresh:
        db.run("INSERT INTO slow SELECT i, string_agg(md5(random()::text), '') FROM generate_series(1, 300) AS i, generate_series(1, 90) GROUP BY i")
        time.sleep(4)
    assert fresh.lags()[-1] < SOON


def failures(db):
    """Attempts that have not been answered well, and what is counted against endpoints."""
    failed = "SELECT count(*) FROM webhook.attempts WHERE status_code IS DISTINCT FROM 200"
    return db.value(failed), db.value("SELECT coalesce(sum(fail_count), 0) FROM webhook.webhooks")


class Locked:
    """Nobody else reads or writes these tables; as a context."""

    def __init__(self, db, *tables):
        self.db, self.tables = db, tables

    def __enter__(self):
        self.connection = self.db.cluster.connect(self.db.name, autocommit=False)
        self.connection.execute(f"LOCK TABLE {', '.join(self.tables)} IN ACCESS EXCLUSIVE MODE")
        return self

    def __exit__(self, *_):
        self.connection.close()


@pytest.mark.alone
def test_what_cannot_be_logged_blames_no_endpoint(db, receiver):
    """More than can wait to be written has been answered or is under way, and all of it is answered in time."""
    receiver.default(after(0.05, reply(200)))
    db.run("CREATE TABLE items (id bigserial)")
    for number in range(10):
        db.create(f"hook{number}", receiver.url("/"), table_name="items", timeout_seconds=2, max_concurrency=10)
    log = [f"webhook.{table}" for (table,) in db.rows("SELECT relname FROM pg_class WHERE relname ~ '^attempt_[0-9]+$'")]
    since = len(db.cluster.log_text())
    with Locked(db, *log) as locked:
        holder = locked.connection.info.backend_pid
        db.run("INSERT INTO items SELECT FROM generate_series(1, 300)")
        time.sleep(6)
    db.settled()
    assert failures(db) == (0, 0)
    assert len(receiver.got()) == len({r.id for r in receiver.got()}) == 3000, "each once"
    for told in (f"locked by process {holder} of role postgres.*lock timeout .*trying again", "working again"):
        assert len(db.cluster.log_lines(told, since)) == 1, told


@pytest.mark.alone
def test_a_worker_that_was_stopped_takes_the_answers_that_have_come(db, receiver):
    db.run("CREATE TABLE items (id bigserial)")
    db.create("hook", receiver.url("/"), table_name="items", timeout_seconds=2)
    # One that is known gets all requests at once.
    db.run("INSERT INTO items DEFAULT VALUES")
    db.wait_for_status(1)
    receiver.hold()
    db.run("INSERT INTO items SELECT FROM generate_series(1, 10)")
    wait_until(lambda: receiver.under_way == 10, "ten requests")
    worker = db.worker()
    db.cluster.signal_process(worker, signal.SIGSTOP)
    receiver.release()
    time.sleep(2.5)
    db.cluster.signal_process(worker, signal.SIGCONT)
    db.wait_for_status(11, timeout=5)
    assert failures(db) == (0, 0) and len(receiver.got()) == 11


def backlog_is_told_of(db, since, *, times=1):
    told = db.cluster.log_lines("new events are sent, retries wait: ", since)
    assert len(told) == times, told
    return told[0]


@pytest.mark.alone
def test_a_lock_on_the_backlog_keeps_no_new_event_back(db, receiver):
    """As VACUUM FULL takes it. What has failed goes there, and waits in memory meanwhile."""
    db.run("CREATE TABLE items (id bigserial)")
    db.create("down", receiver.url("/down"), table_name="items", retry_backoff_seconds=1)
    receiver.on("/down", reply(500))
    since = len(db.cluster.log_text())
    with Fresh(db, receiver) as fresh:
        with Locked(db, "webhook.pending") as lock:
            for _ in range(8):
                db.run("INSERT INTO items DEFAULT VALUES")
                time.sleep(1)
            pid = lock.connection.info.backend_pid
            assert f"webhook.pending is locked by process {pid} of role postgres" in db.value("SELECT last_error FROM webhook.worker")
        receiver.on("/down", reply(200))
        db.wait_for_status(8, webhook="down")
    assert fresh.lags()[-1] < SOON
    assert f"process {pid} of role postgres" in backlog_is_told_of(db, since)
    wait_until(lambda: db.value("SELECT last_error FROM webhook.worker") is None, "an end of it")
    assert len(db.cluster.log_lines("the backlog is written to again", since)) == 1
    assert not db.cluster.log_lines("trying again", since)


@pytest.mark.alone
def test_a_row_of_the_backlog_that_is_locked_keeps_no_new_event_back(db, receiver):
    db.run("CREATE TABLE items (id bigserial)")
    db.create("down", receiver.url("/down"), table_name="items", retry_backoff_seconds=1)
    receiver.on("/down", reply(500), reply(200))
    db.run("INSERT INTO items DEFAULT VALUES")
    since = len(db.cluster.log_text())
    with Fresh(db, receiver) as fresh:
        wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending") == 1, "a row")
        with db.connect(autocommit=False) as other:
            other.execute("SELECT FROM webhook.pending FOR UPDATE")
            receiver.wait(2, "/down")
            time.sleep(3)
        db.wait_for_status(1, webhook="down")
    assert fresh.lags()[-1] < SOON
    backlog_is_told_of(db, since)
    assert len(receiver.got("/down")) == 2, "each attempt once"


@pytest.mark.alone
def test_a_start_with_two_thousand_webhooks_that_are_due_keeps_no_new_event_back(own_cluster, make_db, receiver):
    """Each has an event that has failed and is due. A new one of another webhook does not wait for them."""
    db = make_db(own_cluster()).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("new", receiver.url("/new"), table_name="items")
    due = 2000
    db.run("SELECT webhook_create('due' || n, %s || n, events => '{tick}', retry_backoff_seconds => 3600)"
           " FROM generate_series(1, %s::int) AS n", receiver.url("/due?"), due)
    receiver.default(reply(500))
    db.run("SELECT webhook_emit('tick', '{}')")
    db.wait_for_status(due, "retrying")
    receiver.default(reply(200))
    db.cluster.stop()
    clock = Clock(db.cluster)
    clock.passes(2 * 3600)
    db.cluster.start(**clock.environment())
    with db.connect() as writer:
        for item in range(20):
            began = time.monotonic()
            writer.execute("INSERT INTO items VALUES (%s)", [item])
            receiver.wait(item + 1, "/new")
            # The first waits for the worker to begin.
            assert time.monotonic() - began < (SOON if item else 5)
        taken = lambda: sum(request.answered == 200 for request in receiver.got())
        wait_until(lambda: taken() == due + 20, lambda: f"all to arrive: {taken()}", interval=0.1)
