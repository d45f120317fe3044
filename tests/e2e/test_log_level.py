"""`pg_webhook.log_level`: what is not logged is known all the same."""

import json
import time
from collections import Counter

import pytest

from harness import wait_until
from harness.receiver import after, hang, reply

BACK_OFF = {"retry_backoff_seconds": 3600}


@pytest.fixture
def make_items(own_cluster, make_db):
    """Makes a server with a level of logging, and a database with a table in it."""
    def make(level):
        db = make_db(own_cluster(pg_webhook__log_level=level))
        db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
        return db
    return make


def insert(db, count=1):
    db.run("INSERT INTO items SELECT FROM generate_series(1, %s)", count)


def logged(db):
    """(webhook, attempt, status code) of each attempt that is in the log."""
    return db.rows(
        "SELECT d.webhook, a.attempt, a.status_code FROM webhook.attempts a JOIN webhook.deliveries d ON d.id = a.delivery_id"
        " ORDER BY 1, 2"
    )


def four_fates(db, receiver):
    """One event each that is delivered, delivered by the second attempt, dead, and waiting for a retry."""
    receiver.on("/second", reply(500), reply(200))
    receiver.on("/dead", reply(501, b"never"))
    receiver.on("/later", reply(502, b"not now"))
    db.create("first", receiver.url("/first"), table_name="items")
    db.create("second", receiver.url("/second"), table_name="items", retry_backoff_seconds=1)
    db.create("dead", receiver.url("/dead"), table_name="items", max_retries=0)
    db.create("later", receiver.url("/later"), table_name="items", **BACK_OFF)
    insert(db)
    expected = [("dead", "dead"), ("first", "delivered"), ("later", "retrying"), ("second", "delivered")]

    def fates():
        return db.rows("SELECT webhook, status FROM webhook.deliveries ORDER BY 1")

    receiver.wait(2, "/second")
    # The cursor is written once a second.
    wait_until(lambda: fates() == expected, lambda: f"{expected}, not {fates()}")
    assert db.value("SELECT sum(pending) FROM webhook.webhooks") == 1


def last_errors(db):
    return db.rows(
        "SELECT webhook, attempts, status_code, error, response_body, latency_ms > 0, next_attempt_at > now() + '40 minutes'"
        " FROM webhook.deliveries WHERE status IN ('dead', 'retrying') ORDER BY 1"
    )


ERRORS = [
    ("dead", 1, 501, "status 501", "never", True, None),
    ("later", 1, 502, "status 502", "not now", True, True),
]


def test_all_logs_each_attempt(make_items, receiver):
    db = make_items("'all'")
    four_fates(db, receiver)
    assert logged(db) == [("dead", 1, 501), ("first", 1, 200), ("later", 1, 502), ("second", 1, 500), ("second", 2, 200)]
    assert last_errors(db) == ERRORS


def test_failures_logs_those_that_did_not_deliver(make_items, receiver):
    db = make_items("failures")
    four_fates(db, receiver)
    assert logged(db) == [("dead", 1, 501), ("later", 1, 502), ("second", 1, 500)]
    assert last_errors(db) == ERRORS


def test_none_logs_nothing_and_last_errors_are_known(make_items, receiver):
    db = make_items("none")
    four_fates(db, receiver)
    assert logged(db) == []
    assert last_errors(db) == ERRORS


def test_a_reload_changes_the_level(make_items, receiver):
    db = make_items("none")
    db.create("hook", receiver.url("/"), table_name="items")
    insert(db)
    db.wait_for_status(1)
    assert logged(db) == []
    db.cluster.reload(pg_webhook__log_level="'all'")
    wait_until(lambda: db.value("SHOW pg_webhook.log_level") == "all", "the reload")

    def is_logged():
        insert(db)
        return logged(db)

    # The worker reads its settings a moment later than this session.
    wait_until(is_logged, "an attempt in the log", interval=0.2)
    db.settled()
    assert set(db.statuses()) == {"delivered"}


@pytest.mark.parametrize("level", ["failures", "none"])
def test_what_was_delivered_and_not_logged_can_be_replayed(make_items, receiver, level):
    db = make_items(level)
    db.create("hook", receiver.url("/"), table_name="items")
    insert(db)
    db.wait_for_status(1)
    db.run("SELECT webhook_replay(id) FROM webhook.deliveries")
    first, second = receiver.wait(2)
    db.wait_for_status(2)
    assert (first.id, first.body) == (second.id, second.body)
    assert logged(db) == []


def test_a_test_that_is_not_logged_is_not_listed(make_items, receiver):
    db = make_items("none")
    db.create("hook", receiver.url("/"), table_name="items")
    assert db.value("SELECT status_code FROM webhook_test('hook')") == 200
    insert(db)
    db.wait_for_status(1)
    assert db.rows("SELECT event_type FROM webhook.deliveries") == [("INSERT",)]


def test_a_crash_under_none_repeats_what_came_after_one_that_hangs(make_items, receiver):
    db = make_items("none")
    server, name = db.cluster, db.name
    receiver.on("/silent", hang())
    db.create("hook", receiver.url("/"), table_name="items")
    insert(db, 100)
    receiver.wait(100, "/")
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.deliveries WHERE status = 'delivered'") == 100, "the cursor to be written")
    earlier = {r.id for r in receiver.got("/")}
    db.create("silent", receiver.url("/silent"), table_name="items", timeout_seconds=120)
    insert(db, 1)
    receiver.wait(1, "/silent")
    insert(db, 200)
    receiver.wait(301, "/")
    # Longer than the cursor is behind otherwise.
    time.sleep(2)
    db.close()
    server.crash()
    receiver.default(reply(200))
    receiver.on("/silent", reply(200))
    server.start()
    with server.connect(name) as again:
        delivered = "SELECT count(*) FROM webhook.deliveries WHERE status = 'delivered'"
        wait_until(lambda: again.execute(delivered).fetchone() == (301 + 201,), "everything delivered")
    times = Counter(r.id for r in receiver.got("/"))
    assert {times.pop(event) for event in earlier} == {1}, "what the cursor is past is not sent again"
    assert len(times) == 201 and set(times.values()) == {2}, "what nothing says of that it was delivered"


def test_a_crash_under_none_loses_nothing_and_repeats_the_last_moment(make_items, receiver):
    db = make_items("none")
    server, name = db.cluster, db.name
    receiver.on("/broken", reply(500))
    receiver.default(after(0.01, reply(200)))
    db.create("hook", receiver.url("/"), table_name="items")
    db.create("broken", receiver.url("/broken"), table_name="items", max_retries=0)
    insert(db, 100)
    db.wait_for_status(100, webhook="hook")
    earlier = {r.id for r in receiver.got("/")}
    for _ in range(20):
        insert(db, 100)
    receiver.wait(600, "/")
    dead = "SELECT id FROM webhook.deliveries WHERE webhook = 'broken' AND status = 'dead' AND error = 'status 500'"
    dead_before = set(db.rows(dead))
    db.close()
    server.crash()
    assert dead_before and len(receiver.got("/")) < 2100
    server.start()
    with server.connect(name) as again:
        def ended():
            return dict(again.execute("SELECT webhook, count(*) FROM webhook.deliveries WHERE status = 'delivered'"
                                      " GROUP BY 1").fetchall()).get("hook") == 2100

        wait_until(ended, "everything delivered")
        assert dead_before <= set(again.execute(dead).fetchall())
        assert again.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (2 * 2100,)
        assert again.execute("SELECT count(*) FROM webhook.attempts").fetchone() == (0,)
    requests = receiver.got("/")
    answered = {json.loads(r.body)["record"]["id"] for r in requests if r.answered == 200}
    assert answered == set(range(1, 2101))
    bodies = {}
    for request in requests:
        assert bodies.setdefault(request.id, request.body) == request.body
    assert sum(r.id in earlier for r in requests) == 100, "what the cursor is past is not sent again"
