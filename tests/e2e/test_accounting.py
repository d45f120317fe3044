"""What has been captured is somewhere, at every moment, and the views say where, while all goes on."""

import collections
import contextlib
import random
import threading
import time

import pytest

from harness import wait_until
from harness.receiver import after, reply
from harness.waiting import PATIENCE

#: Looks at what there is. The worker ends after half of them.
SAMPLES = 40

FATES = {"pending", "retrying", "delivered", "dead", "cancelled"}

#: All views in one statement, so that they see the same.
SAMPLE = """
    SELECT (SELECT count(*) FROM items), (SELECT array_agg(status) FROM webhook.deliveries), (SELECT count(*) FROM webhook.dead_letters),
           w.pending, s.pending, s.failed, w.held, s.held
    FROM webhook.webhooks AS w, webhook.stats AS s
"""


def answers():
    """Most are taken, some only later or never."""
    dice = random.Random(1)
    behaviours = [after(0.01, reply(200))] * 8 + [reply(500), reply(400)]

    async def behave(connection):
        return await dice.choice(behaviours)(connection)

    return behave


@contextlib.contextmanager
def going_on(db, statement):
    """Something that a session of its own does again and again meanwhile."""
    ended = threading.Event()

    def go_on():
        with db.connect() as session:
            while not ended.is_set():
                session.execute(statement)
                time.sleep(0.002)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


WRITE = "INSERT INTO items SELECT FROM generate_series(1, 1 + (random() * 2)::int)"
CANCEL = """
    SELECT webhook_cancel(id) FROM webhook.deliveries
    WHERE status IN ('pending', 'retrying', 'held') AND random() < 0.05 ORDER BY id DESC LIMIT 2
"""


@pytest.mark.parametrize("order, fates", [
    ({}, FATES), ({"ordering": "key", "order_key": ["k"], "on_failure": "skip"}, FATES | {"held"}),
])
def test_what_is_captured_is_accounted_for_at_every_moment(db, receiver, order, fates):
    """While it is written, sent, refused, tried again and cancelled, and the worker ends and comes again."""
    receiver.default(answers())
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY, k int DEFAULT (random() * 20)::int)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=1, retry_backoff_seconds=1, **order)
    seen, samples, deadline = set(), 0, time.monotonic() + PATIENCE
    with going_on(db, WRITE), going_on(db, CANCEL):
        while samples < SAMPLES or len(seen) < len(fates):
            assert time.monotonic() < deadline, seen
            captured, statuses, dead_letters, waiting, pending, failed, *held = db.rows(SAMPLE)[0]
            counts = collections.Counter(statuses)
            told = f"{counts}, captured {captured}"
            assert counts.total() == captured and set(counts) <= fates, told
            assert counts["dead"] == dead_letters == failed, f"{told}, dead letters {dead_letters}, stats {failed}"
            assert counts["pending"] + counts["retrying"] == waiting == pending, f"{told}, webhooks {waiting}, stats {pending}"
            assert held == [counts["held"]] * 2, f"{told}, webhooks and stats {held}"
            seen |= counts.keys()
            samples += 1
            if samples == SAMPLES // 2:
                db.judge.run("SELECT pg_terminate_backend(pid) FROM webhook.worker WHERE pid IS NOT NULL")
    assert db.value("SELECT count(*) FROM items") > 100
    wait_until(lambda: set(db.statuses()) <= {"delivered", "dead", "cancelled"}, db.statuses, 2 * PATIENCE)
    # What is counted comes a second later.
    delivered = db.statuses()["delivered"]
    wait_until(lambda: db.value("SELECT delivered FROM webhook.stats") == delivered, f"{delivered} counted")
