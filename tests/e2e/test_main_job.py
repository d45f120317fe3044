"""From CREATE EXTENSION to a signed delivery in the log."""

import dataclasses
import hashlib
import hmac
import json

import pytest
from standardwebhooks import WebhookVerificationError

from harness.verify import verify_node, verify_python


@pytest.fixture
def orders(db):
    db.run("CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric)")
    return db


def test_a_committed_change_arrives_signed_and_is_logged(orders, receiver):
    hook = orders.create("new-orders", receiver.url("/hooks/orders"), table_name="orders")
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")

    [request] = receiver.wait(1)
    verify_python(hook["secret"], request)
    assert request.path == "/hooks/orders"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "pg_webhook/0.1.0"
    assert request.headers["webhook-attempt"] == "1"
    body = json.loads(request.body)
    assert list(body) == [
        "id", "event", "schema", "table", "record", "old_record", "timestamp", "webhook_id",
    ]
    assert body["id"] == request.id
    assert (body["event"], body["schema"], body["table"]) == ("INSERT", "public", "orders")
    assert body["record"] == {"id": 1, "customer": "Ada", "total": 42}
    assert body["old_record"] is None
    assert body["webhook_id"] == str(hook["id"])

    orders.wait_for_status(1)
    delivery = orders.rows(
        "SELECT webhook, event_id, event_type, schema_name, table_name, payload, attempts, status_code,"
        " response_body, error, next_attempt_at, latency_ms > 0, delivered_at >= created_at"
        " FROM webhook.deliveries"
    )
    assert delivery == [(
        "new-orders", request.id, "INSERT", "public", "orders", request.body.decode(), 1, 200,
        "ok", None, None, True, True,
    )]
    attempts = orders.rows("SELECT attempt, status_code, error_class, error FROM webhook.attempts")
    assert attempts == [(1, 200, None, None)]


def test_what_is_rolled_back_never_happened(orders, receiver):
    orders.create("hook", receiver.url("/"), table_name="orders")
    with orders.connect(autocommit=False) as other:
        other.execute("INSERT INTO orders VALUES (1, 'nobody', 0)")
        other.rollback()
    orders.run("INSERT INTO orders VALUES (2, 'somebody', 0)")
    orders.wait_for_status(1)
    assert [json.loads(r.body)["record"]["id"] for r in receiver.got()] == [2]
    assert orders.value("SELECT count(*) FROM webhook.deliveries") == 1


def test_a_webhook_captures_its_own_transaction_and_a_rollback_undoes_it(orders, receiver):
    with orders.connect(autocommit=False) as other:
        other.execute("SELECT webhook_create('hook', %s, 'orders')", [receiver.url("/gone")])
        other.execute("INSERT INTO orders VALUES (1, 'Ada', 1)")
        other.rollback()
        other.execute("SELECT webhook_create('hook', %s, 'orders')", [receiver.url("/kept")])
        other.execute("INSERT INTO orders VALUES (2, 'Bea', 2)")
        other.commit()
    orders.wait_for_status(1)
    assert [r.path for r in receiver.got()] == ["/kept"]
    assert orders.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\\_webhook\\_%'") == 3


def test_reference_libraries_accept_every_request_and_no_forgery(orders, receiver):
    hook = orders.create("hook", receiver.url("/"), table_name="orders")
    orders.run("INSERT INTO orders SELECT i, 'kündin \U0001F600 ' || i, i FROM generate_series(1, 50) i")
    requests = receiver.wait(50)
    for request in requests:
        verify_python(hook["secret"], request)
    assert verify_node(hook["secret"], requests) == [None] * 50

    good = requests[0]
    forged = [
        dataclasses.replace(good, body=good.body + b" "),
        dataclasses.replace(good, headers={**good.headers, "webhook-id": "evt_other"}),
        dataclasses.replace(good, headers={**good.headers, "webhook-timestamp": "1"}),
    ]
    for request in forged:
        with pytest.raises(WebhookVerificationError):
            verify_python(hook["secret"], request)
    assert None not in verify_node(hook["secret"], forged)
    other = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert None not in verify_node(other, [good])


def test_sha256_signature(orders, receiver):
    secret = "a secret of plain words"
    orders.create("hook", receiver.url("/"), table_name="orders", secret=secret, signature="sha256")
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    [request] = receiver.wait(1)
    expected = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-webhook-signature"] == f"sha256={expected}"
    assert "webhook-signature" not in request.headers


def test_users_headers_are_sent(orders, receiver):
    orders.create(
        "hook", receiver.url("/"), table_name="orders",
        headers='{"Authorization": "Bearer t0ken", "User-Agent": "mine/1"}',
    )
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    [request] = receiver.wait(1)
    assert request.headers["authorization"] == "Bearer t0ken"
    assert request.headers["user-agent"] == "mine/1"
    assert request.headers["content-type"] == "application/json"


def test_update_and_delete_carry_both_images(orders, receiver):
    orders.create("hook", receiver.url("/"), table_name="orders")
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    orders.run("UPDATE orders SET total = 43")
    orders.run("DELETE FROM orders")
    bodies = {b["event"]: b for b in (json.loads(r.body) for r in receiver.wait(3))}
    old, new = ({"id": 1, "customer": "Ada", "total": total} for total in (42, 43))
    assert (bodies["UPDATE"]["old_record"], bodies["UPDATE"]["record"]) == (old, new)
    assert (bodies["DELETE"]["old_record"], bodies["DELETE"]["record"]) == (new, new)


def test_replay_sends_the_same_bytes_under_the_same_id(orders, receiver):
    orders.create("hook", receiver.url("/"), table_name="orders")
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    [first] = receiver.wait(1)
    orders.wait_for_status(1)
    original = orders.value("SELECT id FROM webhook.deliveries")
    replayed = orders.value("SELECT webhook_replay(%s)", original)
    again = orders.value("SELECT webhook_replay(%s)", replayed)
    assert len({original, replayed, again}) == 3
    _, second, third = receiver.wait(3)
    assert (first.id, first.body) == (second.id, second.body) == (third.id, third.body)
    assert [request.headers.get("webhook-replay") for request in (first, second, third)] == [None, "1", "1"]
    orders.wait_for_status(3)
    assert orders.value("SELECT count(DISTINCT event_id) FROM webhook.deliveries") == 1


def test_a_test_event_returns_the_answer(orders, receiver):
    hook = orders.create("hook", receiver.url("/t"), enabled=False)
    [(status, body, latency, error)] = orders.rows(
        "SELECT status_code, response_body, latency_ms, error FROM webhook_test('hook', '{\"a\": [1]}')"
    )
    assert (status, body, error) == (200, "ok", None) and latency > 0
    [request] = receiver.wait(1)
    verify_python(hook["secret"], request)
    sent = json.loads(request.body)
    assert (sent["event"], sent["record"], sent["table"]) == ("TEST", {"a": [1]}, None)
    assert orders.rows("SELECT event_type, status, attempts, event_id FROM webhook.deliveries") == [
        ("TEST", "delivered", 1, request.id)
    ]
    receiver.down()
    [(status, body, error)] = orders.rows(
        "SELECT status_code, response_body, error FROM webhook_test('hook')"
    )
    assert (status, body) == (0, None) and error.startswith("connect: ")
    # Nothing else sends it: the worker has looked since.
    orders.run("SELECT webhook_update('hook', enabled => true)")
    receiver.up()
    orders.run("SELECT webhook_watch('hook', 'orders')")
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    receiver.wait(2)
    assert [json.loads(r.body)["event"] for r in receiver.got()] == ["TEST", "INSERT"]
