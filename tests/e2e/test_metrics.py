"""`webhook.metrics` and `webhook.stats`: numbers that are right, cheap and lasting."""

import time

import psycopg
import pytest

from harness import wait_until
from harness.receiver import after, close, reply

COUNTED = "SELECT attempts, answered, delivered, dead FROM webhook.metrics WHERE webhook = 'hook'"


def prepare(db, receiver):
    """A table that a webhook of an ordinary role watches."""
    db.hand_over()
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    return db


@pytest.fixture
def items(db, receiver):
    return prepare(db, receiver)


@pytest.fixture
def own_items(own_cluster, make_db, receiver):
    """The same in a server of its own."""
    return prepare(make_db(own_cluster()), receiver)


def insert(db, count=1):
    db.run("INSERT INTO items SELECT generate_series(1, %s)", count)


def counted(db, *numbers):
    """Waits for the numbers of COUNTED."""
    wait_until(lambda: db.rows(COUNTED) == [numbers], lambda: f"{numbers}, not {db.rows(COUNTED)}")


def test_counts_what_has_been_attempted(items, receiver):
    # So the third attempt of the second event comes when all is over.
    items.run("SELECT webhook_update('hook', retry_backoff_seconds => 5)")
    receiver.on("/", reply(200), close(), reply(400), reply(500), reply(200))
    insert(items)
    receiver.wait(1)
    # Nobody answers the second event, and the third attempt is its second.
    insert(items)
    receiver.wait(3)
    counted(items, 3, 2, 1, 0)
    items.run("SELECT webhook_update('hook', max_retries => 0)")
    insert(items)
    receiver.wait(4)
    counted(items, 4, 3, 1, 1)
    assert items.rows("SELECT delivered, failed FROM webhook.stats") == [(1, 1)]


@pytest.mark.parametrize("level", ["all", "none"])
def test_counts_the_same_whatever_is_logged(own_cluster, make_db, receiver, level):
    db = make_db(own_cluster(pg_webhook__log_level=level)).hand_over()
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items")
    insert(db, 700)
    counted(db, 700, 700, 700, 0)
    assert db.rows("SELECT sum(n) FROM webhook.metrics, unnest(request_counts) n") == [(700,)]
    assert db.rows("SELECT sum(n) FROM webhook.metrics, unnest(delivery_counts) n") == [(700,)]


def test_times_are_those_of_requests_and_of_deliveries(items, receiver):
    receiver.on("/", reply(503), after(0.3, reply(200)))
    insert(items)
    counted(items, 2, 2, 1, 0)
    requests, deliveries, first, p50, late = items.rows(
        "SELECT request_ms, delivery_ms, p50_ms, p99_ms, delivery_p50_ms FROM webhook.metrics JOIN webhook.stats USING (webhook)"
    )[0]
    assert 300 <= requests < 1000, "two requests, one of which took that long"
    assert 500 + 300 <= deliveries < 10_000, "with the wait for the second"
    assert first < 300 * 1.42 and 300 / 1.42 < p50 < 1000 * 1.42 and 800 / 1.42 < late < 10_000 * 1.42
    bounds, counts = items.rows("SELECT bounds_ms, request_counts FROM webhook.metrics")[0]
    assert len(bounds) == len(counts) == 64
    slow = [below for below, above, n in zip([0, *bounds], bounds, counts) if n and above > 250]
    assert len(slow) == 1 and 150 < slow[0] < 1000


def test_a_delivery_takes_from_the_commit_on(items, receiver):
    """A long transaction keeps its events to itself, which is no fault of who delivers them."""
    with items.connect(autocommit=False) as session:
        session.execute("INSERT INTO items VALUES (1)")
        items.run("SELECT pg_sleep(2)")
        # The worker looks at what there is.
        items.run("SELECT webhook_invoke('hook', ROW(1))")
        receiver.wait(1)
        session.commit()
    receiver.wait(2)
    counted(items, 2, 2, 2, 0)
    assert items.value("SELECT delivery_ms FROM webhook.metrics") < 2000


def test_a_delay_of_the_worker_is_in_it(own_items, receiver):
    """What has waited for the worker has waited."""
    server = own_items.cluster
    server.reload(pg_webhook__enabled="off")
    time.sleep(1)
    insert(own_items)
    own_items.run("SELECT pg_sleep(2)")
    server.reload(pg_webhook__enabled="on")
    receiver.wait(1)
    counted(own_items, 1, 1, 1, 0)
    assert 2000 <= own_items.value("SELECT delivery_ms FROM webhook.metrics") < 20_000


def test_numbers_last(own_items, receiver):
    """Over the end of the worker and of the server, a crash, and the log's being cut."""
    server, name, owner = own_items.cluster, own_items.name, own_items.owner
    insert(own_items, 10)
    receiver.wait(10)
    # At the end of a run all is written.
    assert own_items.judge.value("SELECT pg_terminate_backend(pid) FROM webhook.worker")
    counted(own_items, 10, 10, 10, 0)
    insert(own_items, 10)
    receiver.wait(20)
    own_items.close()
    server.stop("fast")
    server.start()
    with server.connect(name, user=owner) as session:
        own_items.connection = session
        counted(own_items, 20, 20, 20, 0)
        insert(own_items, 10)
        counted(own_items, 30, 30, 30, 0)
        own_items.connection.close()
        server.crash()
        server.start()
    own_items.reconnect()
    counted(own_items, 30, 30, 30, 0)
    own_items.run("SET pg_webhook.capture = off; TRUNCATE webhook.attempt, webhook.event")
    assert own_items.value("SELECT delivered FROM webhook.stats") == 30


def test_a_reset_is_its_owners(items, receiver, people):
    stranger = people("stranger", "member")
    viewer = people("viewer", "viewer")
    insert(items, 5)
    counted(items, 5, 5, 5, 0)
    for who, code in ((stranger, "42704"), (viewer, "42501")):
        with pytest.raises(psycopg.Error) as caught:
            who.run("SELECT webhook_stats_reset('hook')")
        assert caught.value.sqlstate == code
    stranger.run("SELECT webhook_stats_reset()")
    assert stranger.rows(COUNTED) == viewer.rows(COUNTED) == []
    counted(items, 5, 5, 5, 0)
    made, before = items.rows("SELECT stats_reset, now() FROM webhook.metrics")[0]
    assert made == items.value("SELECT created_at FROM webhook.webhooks")
    items.run("SELECT webhook_stats_reset('hook')")
    counted(items, 0, 0, 0, 0)
    assert items.value("SELECT stats_reset FROM webhook.stats") > before
    assert items.rows("SELECT delivered, p50_ms, delivery_p99_ms FROM webhook.stats") == [(0, None, None)]
    assert items.value("SELECT sum(n) FROM webhook.metrics, unnest(request_counts) n") == 0
    insert(items, 2)
    counted(items, 2, 2, 2, 0)
    for _ in range(5):
        items.run("SELECT webhook_stats_reset()")
    counted(items, 0, 0, 0, 0)
    assert items.judge.value("SELECT count(*) FROM webhook.metric_reset") <= 2, "those before are forgotten"


def test_a_reset_that_stays_open_delays_nobody(items, receiver):
    with items.connect(autocommit=False) as session:
        session.execute("SELECT webhook_stats_reset()")
        insert(items, 3)
        counted(items, 3, 3, 3, 0)
        # Nor whoever else resets.
        items.run("SET lock_timeout = '1s'; SELECT webhook_stats_reset()")
        counted(items, 0, 0, 0, 0)
        session.rollback()
    counted(items, 0, 0, 0, 0)


def test_nothing_is_written_where_nothing_happens(items, receiver):
    insert(items, 3)
    counted(items, 3, 3, 3, 0)
    written = lambda: items.judge.value("SELECT n_tup_upd FROM pg_stat_all_tables WHERE relid = 'webhook.metric'::regclass")
    wait_until(lambda: items.value("SELECT n_live_tup FROM pg_stat_all_tables WHERE relid = 'webhook.metric'::regclass") == 1, "statistics")
    before = written()
    time.sleep(2.5)
    assert written() == before


def test_many_webhooks_are_all_counted(items, receiver):
    """More than are written at once."""
    for number in range(120):
        items.create(f"hook_{number}", receiver.url("/many"), table_name="items")
    insert(items)
    insert(items)
    wait_until(
        lambda: items.rows("SELECT count(*), sum(delivered) FROM webhook.metrics WHERE delivered = 2") == [(121, 242)],
        lambda: items.rows("SELECT delivered, count(*) FROM webhook.metrics GROUP BY 1"),
    )
    # One that is deleted is gone.
    items.run("SELECT webhook_delete('hook_7')")
    assert items.value("SELECT count(*) FROM webhook.metrics") == 120
