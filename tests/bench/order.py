"""Delivery in order: what it costs where all goes well, and what one key that is held up does to the others."""

import contextlib

from adversaries import against, inserts, repeated
from figures import Row, drained
from harness.memory import private_memory
from harness.waiting import wait_until
from machine import cpu
from stage import INSERT, Stage, pause

#: `count` rows, which fall to so many keys in turn.
ROWS = """INSERT INTO orders SELECT i, 'customer ' || i %% %s, repeat('some text ', 4), i * 1.5, now(), i, true, i / 3.0, 'abc'
    FROM generate_series(1, %s) AS i"""

BY_CUSTOMER = {"ordering": "key", "order_key": "{customer}"}


def fill(stage, keys, count):
    stage.db.run(ROWS, keys, count)


def in_order(server, nginx, quick):
    """A drain with an order of many keys, against one without."""
    events = 50_000 if quick else 300_000
    free = Stage(server, "free", nginx.url())
    without = drained(free, nginx, events, lambda: fill(free, 10_000, events))[0]
    stage = Stage(server, "ordered", nginx.url(), **BY_CUSTOMER)
    rate, each, written = drained(stage, nginx, events, lambda: fill(stage, 10_000, events))
    return [
        Row("in order, 10,000 keys: against none", rate / without, "x", 0.95, beside=f"{rate:.0f} and {without:.0f}/s"),
        Row("in order: CPU of the leader and its threads, per delivery", each["leader"], "us"),
        Row("in order: WAL of the log, per delivery", written, "bytes"),
    ]


def one_by_one(server, nginx, quick):
    """All of a webhook in one order: a request begins when the one before is answered."""
    events = 2_000 if quick else 10_000
    stage = Stage(server, "one", nginx.url(), ordering="webhook")
    rate = drained(stage, nginx, events, lambda: fill(stage, 1, events))[0]
    return [Row("in order, one key: deliveries per second", rate, "/s")]


def slow_keys(server, nginx, quick):
    """A receiver that takes a tenth of a second for each, and a thousand keys: ten a second of each at most."""
    events = 20_000 if quick else 100_000
    # An endpoint that takes so long has half of them at most.
    server.reload(pg_webhook__max_connections_per_endpoint="1000", pg_webhook__max_concurrency="2000")
    stage = Stage(server, "slow", nginx.url("/slow"), **BY_CUSTOMER, max_concurrency=1000)
    rate = drained(stage, nginx, events, lambda: fill(stage, 1_000, events))[0]
    server.reload(pg_webhook__max_connections_per_endpoint="100", pg_webhook__max_concurrency="100")
    return [Row("in order, 1,000 keys at 100 ms: deliveries per second", rate, "/s", 9_000, beside="10000/s at most")]


def blocked_key(server, nginx, quick):
    """One key of ten thousand is held behind a dead letter."""
    events = 50_000 if quick else 300_000
    rates = []
    for blocked in (False, True):
        stage = Stage(server, "blocked", nginx.url("/away"), **BY_CUSTOMER, max_retries=0)
        if blocked:
            fill(stage, 1, 1)
            wait_until(lambda: stage.db.value("SELECT failed FROM webhook.stats") == 1, "a dead letter")
        stage.db.run("SELECT webhook_update('healthy', url => %s)", nginx.url())
        rates.append(passing(stage, nginx, events, 10_000, held=blocked))
    return [Row("in order, one key of 10,000 is held: against none", rates[1] / rates[0], "x", 0.98,
                beside=f"{rates[1]:.0f} and {rates[0]:.0f}/s")]


def beside_a_held_key(server, nginx, quick):
    """A steady load, while events come for a key that is held."""
    @contextlib.contextmanager
    def adversary(stage):
        stage.db.run("SELECT webhook_update('healthy', url => %s)", nginx.url("/refuses"))
        stage.db.run("INSERT INTO orders VALUES (-1)")
        wait_until(lambda: stage.db.value("SELECT failed FROM webhook.stats") == 1, "a dead letter")
        stage.db.run("SELECT webhook_update('healthy', url => %s)", nginx.url())
        stage.db.run("DELETE FROM orders WHERE id = -1")
        # Rows are counted by who measures the others.
        with repeated(stage, "INSERT INTO orders VALUES (-1); DELETE FROM orders WHERE id = -1", 0.01):
            yield
        assert stage.db.value("SELECT held FROM webhook.stats") > 100
    return against("in order, beside a key that is held", server, nginx, quick, adversary, max_retries=0, ordering="key", order_key="{id}")


def passing(stage, nginx, events, keys, held):
    """Deliveries per second of what is not behind the dead letter of the key of customer 0."""
    stage.sending(False)
    fill(stage, keys, events)
    expected = events - (events // keys if held else 0)
    sent = nginx.requests()
    stage.sending(True)
    wait_until(lambda: nginx.requests() - sent >= expected, lambda: f"{expected} to arrive", 300, interval=0.05)
    wait_until(lambda: stage.finished() >= expected, "the log", interval=0.25)
    seconds = float(stage.db.value(
        "SELECT extract(epoch FROM max(started_at) - min(started_at)) FROM webhook.attempt WHERE verdict = 'delivered'"))
    assert stage.db.value("SELECT held FROM webhook.stats") == events - expected
    stage.drop()
    return expected / seconds


def bulk_beside_order(server, nginx, quick):
    """A bulk load of another webhook, which has no order."""
    events = 100_000 if quick else 2_000_000
    name = f"in order, beside {events} rows without"
    # The load beside which it is measured is of one customer.
    return against(name, server, nginx, quick, inserts(events, nginx), ordering="key", order_key="{id}")


def held_behind(server, nginx, quick):
    """So many held behind a hundred keys: what it costs whoever is not."""
    count = 50_000 if quick else 1_000_000
    stage = Stage(server, "held", nginx.url("/refuses"), **BY_CUSTOMER, max_retries=0)
    fill(stage, 100, 100)
    wait_until(lambda: stage.db.value("SELECT failed FROM webhook.stats") == 100, "the dead letters")
    stage.db.run("SELECT webhook_update('healthy', url => %s)", nginx.url())
    stage.fill(1_000_000, 1_000_000 + 999)
    stage.settle(1_000)
    quiet = used(stage, 5)
    fill(stage, 100, count)
    wait_until(lambda: stage.db.value("SELECT held FROM webhook.stats") == count, "all to be held", 300, interval=1)
    loud = used(stage, 5)
    taken = private_memory(stage.pid)
    stage.drop()
    return [
        Row(f"in order, {count} held behind 100 keys: CPU of the worker, against none", loud / quiet, "x", 1.1, "most",
            f"{loud:.0f} and {quiet:.0f} us per event"),
        Row(f"in order, {count} held: memory of the worker", taken, "MB", 200, "most"),
    ]


def used(stage, seconds):
    """Microseconds of processor time of the worker for each delivery of a steady load of other keys."""
    before, done = cpu(stage.pid), stage.finished()
    stage.pgbench(INSERT.replace("'customer'", "'customer ' || :id + 1000"), seconds, clients=2, rate=1000)
    pause(1)
    return (cpu(stage.pid) - before) / (stage.finished() - done) * 1e6


ALL = [in_order, one_by_one, slow_keys, blocked_key, beside_a_held_key, bulk_beside_order, held_behind]
