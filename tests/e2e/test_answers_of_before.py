"""What an endpoint's answers mean later: in the worker's next run, and after its webhook has been changed."""

import threading
import time

import pytest

from harness import wait_until
from harness.receiver import checked, once, reply

# A wait that no test reaches.
LATER = {"retry_backoff_seconds": 3600}
# More than the time after which a further request goes to an endpoint of which nothing is known.
NEXT = 1.5


@pytest.fixture
def items(db):
    db.hand_over()
    db.run("CREATE TABLE items (id serial PRIMARY KEY, note text)")
    return db


def insert(db, note, count=1):
    db.run("INSERT INTO items (note) SELECT %s FROM generate_series(1, %s)", note, count)


def restart_worker(db):
    """It ends as when somebody terminates it, and writes down what it knows."""
    pid = db.worker()
    assert db.judge.value("SELECT pg_terminate_backend(%s)", pid)
    db.wait_for_worker(other_than=pid)


def test_an_endpoint_that_has_refused_events_needs_no_probe_in_the_next_run(items, receiver):
    receiver.default(reply(422))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items, "bad", 10)
    items.wait_for_status(10, "retrying")
    restart_worker(items)
    assert items.value("SELECT fail_count FROM webhook.webhooks") == 10
    receiver.default(reply(200))
    receiver.hold()
    insert(items, "good", 3)
    wait_until(lambda: receiver.under_way == 3, "all of them, though none has been answered")
    receiver.release()
    items.wait_for_status(3)


def test_an_endpoint_that_was_down_begins_the_next_run_with_a_probe(items, receiver):
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    # Its last answer is that of one that is alive, and others before it were as well.
    for status in (422, 500, 500, 500, 500, 500):
        receiver.default(reply(status))
        waiting = items.statuses().get("retrying", 0)
        insert(items, "bad")
        items.wait_for_status(waiting + 1, "retrying")
    restart_worker(items)
    receiver.default(reply(200))
    receiver.hold()
    insert(items, "good", 3)
    wait_until(lambda: receiver.under_way == 1, "a probe")
    time.sleep(NEXT)
    assert receiver.under_way == 1
    receiver.release()
    items.wait_for_status(3)
    assert receiver.most_under_way <= 3


@pytest.mark.parametrize("change", [
    "SELECT webhook_pause('hook'); SELECT webhook_resume('hook')",
    "SELECT webhook_update('hook', timeout_seconds => 20)",
])
def test_a_late_410_pauses_no_webhook_that_has_been_changed_meanwhile(items, receiver, change):
    asked = threading.Event()
    receiver.default(once(asked, checked(lambda request: b"unwanted" not in request.body, otherwise=410)))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items, "unwanted")
    receiver.wait(1)
    items.run(change)
    asked.set()
    items.wait_for_status(1, "retrying")
    assert items.value("SELECT health FROM webhook.webhooks") == "failing"
    insert(items, "wanted")
    items.wait_for_status(1)
    # What is asked from now on counts.
    insert(items, "unwanted")
    wait_until(lambda: items.value("SELECT health FROM webhook.webhooks") == "paused", "the pause")
