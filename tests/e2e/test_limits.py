"""What bounds the requests to an endpoint and of a database: at once, in a second, and in threads."""

import datetime
import json
import os
import resource
import time

import pytest

from harness import wait_until
from harness.memory import private_memory
from harness.receiver import after, reply
from harness.waiting import PATIENCE

IDLE = 30  # seconds after which a thread without work ends


@pytest.fixture
def items(db):
    return table(db)


@pytest.fixture
def many_files():
    """Enough open files for a thousand connections to a receiver of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= 4096, f"a process may have {hard} files only"
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def table(db, name="items"):
    db.run(f"CREATE TABLE {name} (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
    return db


def insert(db, count=1, name="items"):
    db.run(f"INSERT INTO {name} SELECT FROM generate_series(1, %s)", count)


def make_known_as_fast(db):
    """By the first answer, or by three in a row where that was late, which is what else the machine does."""
    def is_fast():
        insert(db)
        db.settled()
        took = db.rows("SELECT latency_ms FROM webhook.attempts ORDER BY started_at DESC LIMIT 3")
        return all(latency < 90 for (latency,) in took)

    wait_until(is_fast, "an endpoint that is fast")


def load(db):
    """Threads of the worker, and requests in flight."""
    return db.rows("SELECT threads, in_flight FROM webhook.worker")[0]


def wait_for_load(db, threads, in_flight, timeout=PATIENCE):
    wait_until(lambda: load(db) == (threads, in_flight), lambda: f"{threads} and {in_flight}, not {load(db)}", timeout)


def most_during(receiver, count):
    """The most requests at once during the next `count`."""
    receiver.most_under_way = receiver.under_way
    receiver.wait(len(receiver.got()) + count)
    return receiver.most_under_way


def most_in_a_second(times):
    """The most arrivals in any window [t, t + 1 s)."""
    return max(sum(first <= t < first + 1 for t in times) for first in times)


def test_max_concurrency_is_reached_and_not_exceeded(items, receiver):
    receiver.default(after(0.3, reply(200)))
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=5)
    insert(items, 25)
    items.wait_for_status(25)
    assert receiver.most_under_way == 5
    items.run("SELECT webhook_update('hook', max_concurrency => 8)")
    insert(items, 24)
    items.wait_for_status(49)
    assert receiver.most_under_way == 8


def test_max_connections_per_endpoint_bounds_it_also_after_a_reload(own_cluster, make_db, receiver):
    server = own_cluster(pg_webhook__max_connections_per_endpoint="3")
    db = table(make_db(server))
    receiver.default(after(0.3, reply(200)))
    db.create("hook", receiver.url("/"), table_name="items", max_concurrency=10)
    insert(db, 1000)
    receiver.wait(9)
    assert receiver.most_under_way == 3
    server.reload(pg_webhook__max_connections_per_endpoint="6")
    wait_until(lambda: receiver.under_way == 6, "six requests at once")
    assert most_during(receiver, 12) == 6
    server.reload(pg_webhook__max_connections_per_endpoint="2")
    wait_until(lambda: most_during(receiver, 4) == 2, lambda: f"two requests at once, not {receiver.most_under_way}")
    assert most_during(receiver, 6) == 2
    assert db.value("SELECT max_concurrency FROM webhook.webhooks") == 10


@pytest.mark.parametrize("answers_after, in_flight", [
    pytest.param(0, 1000, id="that is known to be fast"),
    pytest.param(None, 500, id="that nothing is known of"),
    pytest.param(0.15, 500, id="that is known to be slow"),
])
def test_a_thousand_requests_to_an_endpoint(own_cluster, make_db, receiver, many_files, answers_after, in_flight):
    server = own_cluster(
        files=4096, pg_webhook__max_concurrency="1000", pg_webhook__max_connections_per_endpoint="1000",
    )
    db = table(make_db(server))
    db.create("hook", receiver.url("/"), table_name="items", max_concurrency=1000, timeout_seconds=120)
    if answers_after == 0:
        make_known_as_fast(db)
    elif answers_after:
        receiver.on("/", after(answers_after, reply(200)), reply(200))
        insert(db)
        db.wait_for_status(1)
    receiver.hold()
    insert(db, 1200)
    wait_until(lambda: load(db)[1] == in_flight, lambda: f"{in_flight} in flight, not {load(db)}")
    wait_until(lambda: receiver.under_way == in_flight, lambda: f"{in_flight} requests, not {receiver.under_way}")
    # More would have come meanwhile.
    time.sleep(0.5)
    assert (receiver.under_way, receiver.most_under_way) == (in_flight, in_flight)
    threads, requests = load(db)
    assert requests == in_flight
    assert threads <= os.cpu_count(), "however many requests"
    receiver.release()
    db.settled()
    assert len(receiver.got()) == db.value("SELECT count(*) FROM items"), "each once"


@pytest.mark.alone
def test_a_rate_limit_holds_in_every_second_and_is_used(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", rate_limit=20)
    insert(items, 60)
    times = [r.time for r in receiver.wait(60)]
    # Requests start 50 ms apart, the 21st a whole second after the first. One that is on its way a little
    # longer than the 20th after it makes them 21; a second one would have to be 50 ms late.
    assert most_in_a_second(times) <= 20 + 1
    assert 59 / 20 - 0.05 < times[-1] - times[0] < 3.5


@pytest.mark.alone
def test_a_rate_limit_counts_retries(items, receiver):
    receiver.on("/", *[reply(500), reply(200)] * 20, reply(200))
    items.create("hook", receiver.url("/"), table_name="items", rate_limit=20, retry_backoff_seconds=1)
    insert(items, 40)
    requests = receiver.wait(60)
    items.wait_for_status(40)
    assert len(receiver.got()) == 60
    assert sum(r.headers["webhook-attempt"] == "2" for r in requests) == 20
    times = [r.time for r in requests]
    assert most_in_a_second(times) <= 20 + 1
    assert 59 / 20 - 0.05 < times[-1] - times[0]


@pytest.mark.alone
@pytest.mark.parametrize("rate", [100, 0], ids=["a higher rate", "no rate"])
def test_a_changed_rate_limit_holds_for_what_waits(items, receiver, rate):
    items.create("hook", receiver.url("/"), table_name="items", rate_limit=1)
    insert(items, 40)
    [first] = receiver.wait(1)
    time.sleep(0.5)
    assert len(receiver.got()) <= 1 + time.time() - first.time
    items.run("SELECT webhook_update('hook', rate_limit => %s)", rate)
    updated = time.time()
    last = receiver.wait(40, timeout=5)[-1].time
    assert last - updated < 2


@pytest.mark.alone
def test_a_lower_rate_limit_holds_for_what_waits(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", rate_limit=50)
    insert(items, 200)
    receiver.wait(10)
    items.run("SELECT webhook_update('hook', rate_limit => 4)")
    updated = time.time()
    times = [r.time for r in receiver.wait(len(receiver.got()) + 8)]
    late = [t for t in times if t > updated + 0.5]
    assert len(late) >= 4
    assert all(second - first > 0.2 for first, second in zip(late, late[1:]))


@pytest.mark.alone
def test_a_rate_limit_delays_nobody_else(items, receiver):
    def lag():
        """How late 99 of 100 events of the other webhook are."""
        before = len(receiver.got("/free"))
        for _ in range(20):
            insert(items, 100)
        requests = receiver.wait(before + 2000, "/free")[before:]
        at = [datetime.datetime.fromisoformat(json.loads(r.body)["record"]["at"]).timestamp() for r in requests]
        return sorted(r.time - at for r, at in zip(requests, at, strict=True))[1980]

    items.create("free", receiver.url("/free"), table_name="items")
    by_itself = lag()
    items.create("limited", receiver.url("/limited"), table_name="items", rate_limit=1)
    began = time.time()
    assert lag() < by_itself + 1
    assert 1 <= len(receiver.got("/limited")) <= time.time() - began + 2


@pytest.mark.alone
def test_a_rate_limit_is_used_while_events_of_a_busy_server_gather(own_cluster, make_db, receiver):
    items = table(make_db(own_cluster(pg_webhook__batch_delay="1000", synchronous_commit="off")))
    table(items, "busy")
    items.create("busy", receiver.url("/busy"), table_name="busy")
    items.run("SELECT webhook_pause('busy')")
    items.create("limited", receiver.url("/"), table_name="items", rate_limit=50)
    insert(items, 1000)
    receiver.wait(1, "/")
    items.run("""DO $$ BEGIN FOR i IN 1..10000 LOOP
        INSERT INTO busy DEFAULT VALUES; COMMIT;
        IF i % 5 = 0 THEN PERFORM pg_sleep(0.001); END IF; END LOOP; END $$""")
    times = [r.time for r in receiver.got("/")]
    assert len(times) > 0.8 * 50 * (times[-1] - times[0])
    # As above: for one more than these a request would have to be 60 ms late.
    assert most_in_a_second(times) <= 50 + 3


def test_connections_are_reused_under_concurrency(items, receiver):
    receiver.default(after(0.02, reply(200)))
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=10)
    for _ in range(10):
        insert(items, 50)
    items.wait_for_status(500)
    assert receiver.most_under_way == 10
    assert receiver.connections == 10


def test_a_reload_of_settings_keeps_connections(items, receiver):
    """Some servers have a reason for one each minute."""
    items.create("hook", receiver.url("/"), table_name="items")
    loaded = "SELECT pg_conf_load_time()"
    for number in range(1, 6):
        before = items.judge.value(loaded)
        items.cluster.reload()
        wait_until(lambda: items.judge.value(loaded) != before, "the reload")
        items.run("INSERT INTO items VALUES (%s)", number)
        items.wait_for_status(number)
    assert receiver.connections == 1


def test_threads_come_with_work_and_go_when_they_are_idle(items, receiver):
    assert load(items) == (0, 0)
    receiver.hold()
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=10)
    insert(items, 3)
    wait_for_load(items, 1, 3)
    insert(items, 27)
    wait_for_load(items, 1, 10)
    receiver.release()
    items.wait_for_status(30)
    done = time.monotonic()
    wait_for_load(items, 1, 0)
    # The view is as old as the worker's last turn; an idle one has a turn every five seconds.
    wait_for_load(items, 0, 0, timeout=IDLE + 10)
    assert time.monotonic() - done > IDLE - 2


@pytest.mark.alone
def test_a_fast_endpoint_that_hangs_gets_all_it_may_have_and_goes_on(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=64, timeout_seconds=60)
    insert(items, 50)
    items.wait_for_status(50)
    receiver.hold()
    insert(items, 200)
    wait_until(lambda: receiver.under_way == 64, lambda: f"64 requests at once, not {receiver.under_way}", 1)
    receiver.release()
    items.wait_for_status(250, timeout=5)
    assert receiver.most_under_way == 64
    assert len(receiver.got()) == 250, "each once"


def test_a_smaller_max_concurrency_ends_requests_while_there_is_work(own_cluster, make_db, receiver):
    # An endpoint that takes so long has half of them, whatever its own limit.
    server = own_cluster(pg_webhook__max_concurrency="40")
    db = table(make_db(server))
    db.create("hook", receiver.url("/"), table_name="items", max_concurrency=20)
    insert(db)
    db.wait_for_status(1)
    receiver.default(after(0.1, reply(200)))
    insert(db, 1500)
    wait_until(lambda: receiver.under_way == 20, "twenty requests at once")
    server.reload(pg_webhook__max_concurrency="4")
    wait_until(lambda: most_during(receiver, 4) <= 4, lambda: f"four requests at once, not {receiver.most_under_way}", 6)
    assert 1 <= most_during(receiver, 20) <= 4
    wait_until(lambda: load(db)[1] <= 4, lambda: f"four in flight, not {load(db)[1]}")
    server.reload(pg_webhook__max_concurrency="40")
    db.settled()
    assert len(receiver.got()) == 1501, "each once"


@pytest.mark.alone
def test_idle_connections_of_many_endpoints_leave_files_to_the_worker(own_cluster, make_db, receiver, many_files):
    """1,024 open files are what most systems give to a server."""
    server = own_cluster(files="1024:1024")
    db = table(make_db(server))
    receiver.default(after(0.05, reply(200)))
    for number in range(120):
        db.create(f"hook{number}", receiver.url(f"/{number}"), table_name="items", max_concurrency=10)
    worker = db.worker()
    for count in (1, 2):
        insert(db, 40)
        receiver.wait(count * 120 * 40, timeout=20)
        db.settled(20)
    assert len(receiver.got()) == 2 * 120 * 40, "each once"
    assert db.worker() == worker
    assert server.log_lines("Too many open files") == []


def test_more_connections_than_open_files(own_cluster, make_db, receiver, many_files):
    server = own_cluster(
        files="1024:1024", pg_webhook__max_concurrency="1000", pg_webhook__max_connections_per_endpoint="1000",
    )
    db = table(make_db(server))
    db.create("hook", receiver.url("/"), table_name="items", max_concurrency=1000, timeout_seconds=120)
    make_known_as_fast(db)
    worker = db.worker()
    receiver.hold()
    insert(db, 1200)
    wait_until(lambda: receiver.under_way >= 700, lambda: f"700 requests at once, not {receiver.under_way}")
    time.sleep(0.5)
    receiver.release()
    db.settled()
    assert len(receiver.got()) == db.value("SELECT count(*) FROM items"), "each once"
    assert db.worker() == worker
    assert server.log_lines("Too many open files") == []


def test_large_bodies_are_held_a_few_at_a_time_and_given_back(own_cluster, make_db, receiver, many_files):
    """Of 150 MB of bodies the worker never holds more than a part, and keeps nothing in the end."""
    server = own_cluster()
    db = table(make_db(server))
    db.run("ALTER TABLE items ADD COLUMN note text")
    db.create("hook", receiver.url("/"), table_name="items", max_concurrency=4)
    insert(db)
    db.wait_for_status(1)
    before = private_memory(db.worker())
    receiver.hold()
    db.run("INSERT INTO items SELECT i, now(), repeat(md5(i::text), 31000) FROM generate_series(1001, 1150) AS i")
    wait_until(lambda: receiver.under_way == 4, "four requests at once")
    time.sleep(1)
    most = private_memory(db.worker())
    receiver.release()
    db.settled(60)
    assert len(receiver.got()) == 151, "each once"
    assert most - before < 60, f"{most - before:.0f} MiB"
    left = private_memory(db.worker()) - before
    assert left < 16, f"{left:.0f} MiB left"
