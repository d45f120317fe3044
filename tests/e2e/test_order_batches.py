"""Batches of what is delivered in order: several events of a key in one request, and what becomes of it when that fails."""

import json
import time

import pytest

from harness import wait_until
from harness.receiver import after, reply
from test_order import SOON, create, nothing_left, of, quiet, status


@pytest.fixture
def items(db):
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, n int, customer text)")
    return db


def numbers(request):
    return [event["record"]["n"] for event in json.loads(request.body)]


def of_key(requests, customer):
    """The n of its events, in the order in which they have come."""
    events = [event["record"] for request in requests for event in json.loads(request.body)]
    return [record["n"] for record in events if record["customer"] == customer]


def by_customer(db, receiver, **settings):
    return create(db, receiver, order_key=["customer"], **{"batch_size": 10, **settings})


def accepted(receiver):
    return [request for request in receiver.got() if request.answered == 200]


def fill(db, count, keys=1):
    db.run("INSERT INTO items SELECT i, i, 'c' || i %% %s::int FROM generate_series(1, %s) AS i", keys, count)


def test_all_of_one_order_goes_in_full_batches(items, receiver):
    create(items, receiver, "webhook", batch_size=50)
    fill(items, 500)
    items.wait_for_status(500)
    requests = receiver.got()
    assert [n for request in requests for n in numbers(request)] == list(range(1, 501))
    assert len(requests) <= 12 and receiver.most_under_way == 1
    assert {len(numbers(request)) for request in requests} >= {50}
    nothing_left(items)


def test_keys_go_beside_each_other_and_each_in_order(items, receiver):
    by_customer(items, receiver)
    receiver.default(after(0.02, reply(200)))
    fill(items, 900, keys=40)
    items.wait_for_status(900)
    for key in range(40):
        assert of_key(receiver.got(), f"c{key}") == [n for n in range(1, 901) if n % 40 == key]
    assert max(len(numbers(request)) for request in receiver.got()) == 10 and receiver.most_under_way > 1
    nothing_left(items)


def test_a_batch_that_fails_comes_again_as_it_was_before_what_is_behind_it(items, receiver):
    by_customer(items, receiver, **SOON)
    receiver.on("/", reply(503), reply(200))
    fill(items, 25)
    items.wait_for_status(25)
    first, again, *others = receiver.got()
    assert (first.id, first.body) == (again.id, again.body) and len(numbers(first)) == 10
    assert [n for request in [again, *others] for n in numbers(request)] == list(range(1, 26))
    assert items.rows("SELECT DISTINCT attempts FROM webhook.deliveries WHERE id = %s", of(items, 1)) == [(2,)]
    nothing_left(items)


def refusing(*poison):
    """Answers 422 to what holds one of these."""
    async def behave(connection):
        wrong = set(poison) & set(numbers(connection.request))
        return await reply(422 if wrong else 200)(connection)

    return behave


@pytest.mark.parametrize("on_failure", ["hold", "skip"])
def test_poison_is_found_by_halves_and_nothing_overtakes_it(items, receiver, on_failure):
    by_customer(items, receiver, on_failure=on_failure, max_retries=0)
    receiver.default(refusing(6))
    receiver.hold()
    fill(items, 20, keys=2)
    receiver.wait(1)
    receiver.release()
    delivered = 20 - (8 if on_failure == "hold" else 1)
    items.wait_for_status(delivered)
    assert status(items, 6) == "dead"
    items.wait_for_status(7 if on_failure == "hold" else 0, "held")
    assert of_key(accepted(receiver), "c1") == list(range(1, 21, 2))
    wanted = [2, 4] if on_failure == "hold" else [n for n in range(2, 21, 2) if n != 6]
    assert of_key(accepted(receiver), "c0") == wanted
    if on_failure == "hold":
        receiver.default(reply(200))
        assert items.value("SELECT webhook_replay(%s)", of(items, 6))
        items.wait_for_status(20)
        assert of_key(accepted(receiver), "c0") == list(range(2, 21, 2))
    nothing_left(items)


def test_one_of_a_batch_is_cancelled_while_it_waits(items, receiver):
    by_customer(items, receiver, retry_backoff_seconds=2)
    receiver.on("/", reply(503), reply(200))
    fill(items, 15)
    items.wait_for_status(10, "retrying")
    assert items.value("SELECT webhook_cancel(%s)", of(items, 4))
    items.wait_for_status(14)
    requests = accepted(receiver)
    assert [n for request in requests for n in numbers(request)] == [n for n in range(1, 16) if n != 4]
    assert receiver.most_under_way == 1
    nothing_left(items)


@pytest.mark.parametrize("on_failure", ["hold", "skip"])
def test_where_it_is_over_for_the_first_of_a_batch_the_others_wait_or_go_on(items, receiver, on_failure):
    """By a 503 that all of them share: the first has been tried before, alone."""
    by_customer(items, receiver, batch_size=1, max_retries=1, retry_backoff_seconds=1, on_failure=on_failure)
    receiver.on("/", reply(503), reply(503), reply(200))
    fill(items, 1)
    receiver.wait(1)
    items.run("SELECT webhook_update('hook', batch_size => 10)")
    items.run("INSERT INTO items SELECT i, i, 'c0' FROM generate_series(2, 5) AS i")
    items.wait_for_status(1, "dead")
    if on_failure == "hold":
        items.wait_for_status(4, "held")
        quiet(receiver, 2)
        assert items.value("SELECT webhook_cancel(%s)", of(items, 1))
    items.wait_for_status(4)
    assert [n for request in receiver.got()[2:] for n in numbers(request)] == [2, 3, 4, 5]
    nothing_left(items)


@pytest.mark.parametrize("status", [422, 503])
def test_one_of_a_batch_is_cancelled_while_it_is_under_way(items, receiver, status):
    by_customer(items, receiver, **SOON)
    items.run("SELECT webhook_pause('hook')")
    fill(items, 15)
    wait_until(lambda: items.judge.value("SELECT count(*) FROM webhook.pending") == 15, "the backlog")
    receiver.on("/", reply(status), reply(200))
    receiver.hold()
    items.run("SELECT webhook_resume('hook')")
    receiver.wait(1)
    first = numbers(receiver.got()[0])
    assert first == list(range(1, 11))
    assert items.value("SELECT webhook_cancel(%s)", of(items, 1))
    time.sleep(0.5)
    receiver.release()
    items.wait_for_status(14)
    assert [n for request in accepted(receiver) for n in numbers(request)] == list(range(2, 16))
    assert receiver.most_under_way == 1
    nothing_left(items)


def test_a_webhook_that_is_changed_is_tried_at_once_though_its_batch_is_another_one(items, receiver):
    by_customer(items, receiver, retry_backoff_seconds=3600)
    receiver.default(reply(503))
    for key in range(5):
        items.run("INSERT INTO items VALUES (%s, 1, %s)", key, f"c{key}")
        items.wait_for_status(key + 1, "retrying")
    receiver.default(reply(200))
    began = time.monotonic()
    items.run("SELECT webhook_update('hook', batch_format => 'ndjson')")
    items.wait_for_status(1)
    assert time.monotonic() - began < 10


def test_without_batches_what_waits_of_one_goes_alone(items, receiver):
    by_customer(items, receiver, retry_backoff_seconds=2)
    receiver.on("/", reply(503), reply(200))
    fill(items, 6)
    items.wait_for_status(6, "retrying")
    items.run("SELECT webhook_update('hook', batch_size => 1)")
    items.wait_for_status(6)
    assert [json.loads(request.body)["record"]["n"] for request in receiver.got()[1:]] == [1, 2, 3, 4, 5, 6]
    assert receiver.most_under_way == 1
    nothing_left(items)


@pytest.mark.parametrize("spilled", [False, True])
def test_a_batch_under_way_in_a_crash_is_repeated_in_its_order(own_cluster, make_db, receiver, spilled):
    """Straight from the ring, and of what was in the backlog."""
    db = make_db(own_cluster())
    db.run("CREATE TABLE items (id int PRIMARY KEY, n int, customer text)")
    by_customer(db, receiver, batch_wait="0.3 seconds")
    if spilled:
        db.run("SELECT webhook_pause('hook')")
        fill(db, 25)
        wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending") == 25, "the backlog")
        receiver.hold()
        db.run("SELECT webhook_resume('hook')")
    else:
        receiver.hold()
        fill(db, 25)
    receiver.wait(1)
    time.sleep(0.5)
    assert len(receiver.got()) == 1
    db.cluster.crash()
    receiver.release()
    db.cluster.start()
    db.reconnect()
    db.wait_for_status(25)
    first, again, *others = receiver.got()
    assert (first.id, first.body) == (again.id, again.body)
    assert [n for request in [again, *others] for n in numbers(request)] == list(range(1, 26))
    nothing_left(db)


def test_what_has_been_answered_does_not_come_again_behind_what_is_after_it(own_cluster, make_db, receiver):
    """A crash in which a batch is under way, and the answer to the one before has just come."""
    db = make_db(own_cluster())
    db.run("CREATE TABLE items (id int PRIMARY KEY, n int, customer text)")
    by_customer(db, receiver)
    for round in range(5):
        seen = len(receiver.got())
        receiver.default(after(0.01, reply(200)))
        db.run("INSERT INTO items SELECT i, i, 'c0' FROM generate_series(%s::int, %s) AS i", 200 * round + 1, 200 * round + 200)
        receiver.wait(seen + 5)
        db.cluster.crash()
        db.cluster.start()
        db.reconnect()
        db.wait_for_status(200 * round + 200)
    known, last = set(), 0
    bodies = {}
    for request in receiver.got():
        assert bodies.setdefault(request.id, request.body) == request.body
        for n in numbers(request):
            # Nothing new comes before what is before it, and a repetition begins somewhere and goes on from there.
            assert n == last + 1 or n in known, (n, last)
            last = n
        known |= set(numbers(request))
    assert known == set(range(1, 1001))
    nothing_left(db)
