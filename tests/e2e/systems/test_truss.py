"""A receiver and a user of Truss webhooks."""

import hmac
import json
import re

import psycopg
import pytest

from harness.checks import hex_hmac, recent
from harness.receiver import checked, reply

SECRET = "whsec_not base64: the key is this text"
ROW = {"id": 1, "customer": "Ada", "total": 42}
LATER = {**ROW, "total": 50}
KEYS = ["event", "schema", "table", "row", "old_row", "timestamp"]


def verified(secret):
    """The check that a receiver of Truss makes."""
    def genuine(request):
        given = request.headers.get("x-truss-signature", "")
        return hmac.compare_digest(given, hex_hmac(secret, request.body))

    return genuine


@pytest.fixture
def hook(orders, receiver):
    receiver.default(checked(verified(SECRET)))
    return orders.create(
        "new order", receiver.url("/hooks/truss"), table_name="orders", format="truss", secret=SECRET,
        events=["INSERT", "UPDATE", "DELETE"], headers=json.dumps({"Authorization": "Bearer token"}),
    )


def test_payload_and_signature(orders, hook, row_changes):
    """The documented body and signature, for each operation."""
    requests = row_changes()
    bodies = [json.loads(request.body) for request in requests]
    assert [list(body) for body in bodies] == [KEYS] * 3
    assert [(b["event"], b["schema"], b["table"], b["row"], b["old_row"]) for b in bodies] == [
        ("INSERT", "public", "orders", ROW, None),
        ("UPDATE", "public", "orders", LATER, ROW),
        ("DELETE", "public", "orders", None, LATER),
    ]
    assert all(recent(body["timestamp"]) for body in bodies)
    for request in requests:
        assert request.path == "/hooks/truss"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["authorization"] == "Bearer token"
        assert re.fullmatch("[0-9a-f]{64}", request.headers["x-truss-signature"])
    orders.wait_for_status(3)


def test_a_receiver_with_another_secret(orders, receiver, hook, later):
    """A receiver that was given another secret refuses the request."""
    receiver.default(checked(verified("another secret of plain words")))
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    assert later("status, status_code") == ("retrying", 401)


def test_list_update_delete(orders, hook, receiver, change, captured):
    """What was given is listed, can be changed, and goes away."""
    assert (hook["name"], hook["secret"], hook["enabled"]) == ("new order", SECRET, True)
    listed = "SELECT url, enabled, format, signature, headers FROM webhook.webhooks"
    assert orders.rows(listed) == [
        (receiver.url("/hooks/truss"), True, "truss", "hex", {"Authorization": "***"})
    ]
    orders.run("SELECT webhook_update('new order', enabled => false)")
    assert captured("INSERT INTO orders VALUES (1, 'Ada', 42)") == 0
    orders.run("SELECT webhook_update('new order', enabled => true, url => %s)", receiver.url("/new"))
    assert change("UPDATE orders SET total = 50").path == "/new"
    orders.run("SELECT webhook_delete('new order')")
    assert orders.rows(listed) == []
    assert captured("DELETE FROM orders") == 0


def test_a_change_of_the_secret(orders, hook, receiver, change):
    """A secret can be replaced at once."""
    orders.run("SELECT webhook_update('new order', secret => 'another secret of plain words')")
    receiver.default(checked(verified("another secret of plain words")))
    change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    orders.wait_for_status(1)


def test_a_test_event(orders, hook, receiver):
    """A test is signed like any event and returns the receiver's status."""
    assert orders.rows("SELECT status_code, error FROM webhook_test('new order')") == [(200, None)]
    [request] = receiver.got()
    body = json.loads(request.body)
    assert list(body) == KEYS and body["event"] == "TEST"
    receiver.default(reply(503, b"closed"))
    assert orders.rows("SELECT status_code, response_body FROM webhook_test('new order')") == [
        (503, "closed")
    ]


def test_logs(orders, hook, receiver, change):
    """Each delivery is on record with the exact payload and the answer."""
    receiver.default(reply(200, b"thank you"))
    request = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    orders.wait_for_status(1)
    [(event_type, payload, status_code, response_body, latency)] = orders.rows(
        "SELECT event_type, payload, status_code, response_body, latency_ms FROM webhook.deliveries"
    )
    assert (event_type, status_code, response_body) == ("INSERT", 200, "thank you")
    assert payload.encode() == request.body
    assert 0 < latency < 10_000


def test_replay(orders, hook, receiver, change):
    """A replay is a new delivery of the same bytes."""
    first = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    orders.wait_for_status(1)
    again = change("SELECT webhook_replay(id) FROM webhook.deliveries")
    assert (again.body, again.id) == (first.body, first.id)
    assert again.headers["x-truss-signature"] == first.headers["x-truss-signature"]
    orders.wait_for_status(2)


def test_fail_count(orders, receiver):
    """`fail_count` counts failures in a row, and one success resets it."""
    receiver.on("/", reply(500), reply(500), reply(200))
    orders.create(
        "hook", receiver.url("/"), table_name="orders", format="truss", retry_backoff_seconds=1
    )
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    receiver.wait(2)
    assert orders.value("SELECT fail_count FROM webhook.webhooks") in (1, 2)
    orders.wait_for_status(1)
    assert orders.value("SELECT fail_count FROM webhook.webhooks") == 0
    receiver.on("/", reply(500))
    orders.run("UPDATE orders SET total = 50")
    orders.wait_for_status(1, "retrying")
    assert orders.value("SELECT fail_count FROM webhook.webhooks") >= 1


def test_pause_and_resume(orders, hook, receiver, change, captured):
    """What happens while a webhook is paused is sent when it goes on."""
    orders.run("SELECT webhook_pause('new order')")
    assert captured("INSERT INTO orders VALUES (1, 'Ada', 42)") == 1
    assert orders.value("SELECT health FROM webhook.webhooks") == "paused"
    assert receiver.got() == []
    assert json.loads(change("SELECT webhook_resume('new order')").body)["row"] == ROW


def test_an_unknown_format(orders, receiver):
    """A format that does not exist is refused when the webhook is made."""
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        orders.create("hook", receiver.url("/"), format="trus")
