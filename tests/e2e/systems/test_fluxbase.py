"""A receiver and a user of Fluxbase webhooks."""

import hmac
import json
import time

import pytest

from harness.checks import hex_hmac, recent
from harness.receiver import checked, hang, reply

SECRET = "secure-random-secret-string"
ROW = {"id": 1, "customer": "Ada", "total": 42}
LATER = {**ROW, "total": 50}
KEYS = ["event", "table", "schema", "record", "old_record", "timestamp", "webhook_id"]


def verified(request):
    """The check of `t=<unix>,v1=<hex>`: five minutes of tolerance, any v1 that holds."""
    pairs = [part.split("=", 1) for part in request.headers["x-fluxbase-signature"].split(",")]
    [timestamp] = [value for key, value in pairs if key == "t"]
    expected = hex_hmac(SECRET, timestamp.encode() + b"." + request.body)
    holds = any(hmac.compare_digest(value, expected) for key, value in pairs if key == "v1")
    return holds and abs(time.time() - int(timestamp)) < 300


def bare(request):
    """The check of the bare hex, by a handler that parses the body and writes it again."""
    again = json.dumps(json.loads(request.body), separators=(",", ":"), ensure_ascii=False)
    return hmac.compare_digest(
        request.headers["x-webhook-signature"], hex_hmac(SECRET, again.encode())
    )


@pytest.fixture
def hook(orders, receiver):
    receiver.default(checked(verified))
    return orders.create(
        "order notifications", receiver.url("/"), table_name="orders", format="fluxbase", secret=SECRET,
        description="when orders change", max_retries=3, timeout_seconds=20, retry_backoff_seconds=5,
    )


def test_payload(orders, hook, row_changes):
    """The documented body for each operation; a DELETE carries the row twice."""
    bodies = [json.loads(request.body) for request in row_changes()]
    assert [list(body) for body in bodies] == [KEYS] * 3
    assert [(b["event"], b["record"], b["old_record"]) for b in bodies] == [
        ("INSERT", ROW, None), ("UPDATE", LATER, ROW), ("DELETE", LATER, LATER),
    ]
    for body in bodies:
        assert (body["schema"], body["table"]) == ("public", "orders")
        assert body["webhook_id"] == str(hook["id"])
        assert recent(body["timestamp"])
    orders.wait_for_status(3)


def test_both_signatures(orders, hook, receiver, change):
    """`t=..,v1=..` at the time of the attempt, and the bare hex of the body beside it."""
    receiver.default(checked(lambda request: verified(request) and bare(request)))
    request = change("INSERT INTO orders VALUES (1, 'Ünïcödé \U0001f40d', 42)")
    orders.wait_for_status(1)
    timestamp = request.headers["webhook-timestamp"]
    assert request.headers["x-fluxbase-signature"].startswith(f"t={timestamp},v1=")
    assert request.headers["x-webhook-signature"] == hex_hmac(SECRET, request.body)


def test_both_secrets_of_a_rotation(orders, hook, change):
    """While a rotation overlaps there are two v1, and the old secret still verifies."""
    new = orders.value("SELECT webhook_rotate_secret('order notifications')")
    request = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    orders.wait_for_status(1)
    signed = request.headers["webhook-timestamp"].encode() + b"." + request.body
    given = request.headers["x-fluxbase-signature"].split(",")[1:]
    assert sorted(given) == sorted(f"v1={hex_hmac(key, signed)}" for key in (SECRET, new))


def test_several_tables(orders, hook, captured):
    """One webhook watches several tables, each with its own operations."""
    orders.run("CREATE TABLE order_items (id int PRIMARY KEY)")
    orders.run("SELECT webhook_watch('order notifications', 'order_items', '{INSERT}')")
    assert captured("INSERT INTO orders VALUES (1, 'Ada', 42)") == 1
    assert captured("INSERT INTO order_items VALUES (1)") == 1
    assert captured("DELETE FROM orders") == 1
    assert captured("DELETE FROM order_items") == 0
    tables = orders.value("SELECT tables FROM webhook.webhooks")
    assert {table: watch["events"] for table, watch in tables.items()} == {
        "public.orders": ["INSERT", "UPDATE", "DELETE"], "public.order_items": ["INSERT"],
    }


def test_settings(orders, hook):
    """What was configured is listed, and can be changed one by one."""
    settings = (
        "SELECT description, max_retries, timeout_seconds, retry_backoff_seconds, enabled, format,"
        " signature FROM webhook.webhooks WHERE name = 'order notifications'"
    )
    assert orders.rows(settings) == [
        ("when orders change", 3, 20, 5, True, "fluxbase", "timestamped")
    ]
    orders.run("SELECT webhook_update('order notifications', max_retries => 7, enabled => false)")
    assert orders.rows(settings) == [
        ("when orders change", 7, 20, 5, False, "fluxbase", "timestamped")
    ]


def test_max_retries(orders, receiver):
    """After the retries that were asked for, the delivery has failed for good."""
    receiver.default(reply(500))
    orders.create(
        "hook", receiver.url("/"), table_name="orders", format="fluxbase", max_retries=1,
        retry_backoff_seconds=1,
    )
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    orders.wait_for_status(1, "dead")
    assert orders.value("SELECT attempts FROM webhook.deliveries") == 2


def test_timeout_seconds(orders, receiver):
    """A receiver that takes too long has failed."""
    receiver.default(hang())
    orders.create(
        "hook", receiver.url("/"), table_name="orders", format="fluxbase", max_retries=0,
        timeout_seconds=1,
    )
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    orders.wait_for_status(1, "dead")
    assert orders.value("SELECT error FROM webhook.deliveries") == "no answer within 1 s: waiting for the head of the answer"


def test_deliveries(orders, hook, receiver):
    """Deliveries are listed page by page, with status, answer, attempts and error."""
    orders.run("INSERT INTO orders SELECT i, 'Ada', i FROM generate_series(1, 5) i")
    orders.wait_for_status(5)
    receiver.default(reply(500))
    orders.run("DELETE FROM orders WHERE id = 1")
    orders.wait_for_status(1, "retrying")
    page = (
        "SELECT status, status_code, attempts, error IS NULL FROM webhook.deliveries"
        " WHERE webhook = 'order notifications' ORDER BY id DESC LIMIT 2 OFFSET %s"
    )
    delivered = ("delivered", 200, 1, True)
    assert orders.rows(page, 0) == [("retrying", 500, 1, False), delivered]
    assert orders.rows(page, 2) == [delivered, delivered]
    assert orders.rows(page, 4) == [delivered, delivered]
    assert orders.rows(page, 6) == []


def test_a_test_with_a_payload(orders, hook, receiver):
    """A test carries what the caller gives it as its record."""
    given = {"id": "test-id", "name": "Test Record"}
    [answer] = orders.rows(
        "SELECT status_code, error FROM webhook_test('order notifications', %s::jsonb)",
        json.dumps(given),
    )
    assert answer == (200, None)
    body = json.loads(receiver.got()[0].body)
    assert list(body) == KEYS
    assert (body["event"], body["record"], body["old_record"]) == ("TEST", given, None)


def test_the_verify_helper(orders, hook, change):
    """`webhook_verify` checks what arrived, from the headers or from the signature alone."""
    request = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    body = request.body.decode()
    signature = request.headers["x-fluxbase-signature"]
    by_headers = "SELECT webhook_verify(%s, %s::jsonb, %s)"
    by_signature = "SELECT webhook_verify(%s, %s::text, %s)"
    assert orders.value(by_headers, body, json.dumps(request.headers), SECRET) is True
    assert orders.value(by_signature, body, signature, SECRET) is True
    assert orders.value(by_signature, body, request.headers["x-webhook-signature"], SECRET) is True
    assert orders.value(by_signature, body + " ", signature, SECRET) is False
    assert orders.value(by_signature, body, signature, "another secret of plain words") is False
    assert orders.value(by_signature, body, f"t=1{signature[2:]}", SECRET) is False
