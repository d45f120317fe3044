"""A handler that was written for Supabase database webhooks."""

import hmac
import json

import pytest

from harness.receiver import checked
from harness.verify import verify_python

ROW = {"id": 1, "customer": "Ada", "total": 42}
LATER = {**ROW, "total": 50}
KEYS = ["type", "table", "schema", "record", "old_record"]


def verified(request):
    """The check that such a handler makes: the header that the webhook was given."""
    return hmac.compare_digest(request.headers.get("authorization", ""), "Bearer service-key")


@pytest.fixture
def hook(orders, receiver):
    receiver.default(checked(verified))
    return orders.create(
        "on_order", receiver.url("/functions/v1/on-order"), table_name="orders", format="supabase",
        headers=json.dumps({"Authorization": "Bearer service-key"}), timeout_seconds=5,
    )


def test_payload(orders, hook, row_changes):
    """The documented body for each operation, and nothing else in it."""
    requests = row_changes()
    bodies = [json.loads(request.body) for request in requests]
    assert [list(body) for body in bodies] == [KEYS] * 3
    assert [(b["type"], b["record"], b["old_record"]) for b in bodies] == [
        ("INSERT", ROW, None), ("UPDATE", LATER, ROW), ("DELETE", None, LATER),
    ]
    assert {(b["schema"], b["table"]) for b in bodies} == {("public", "orders")}
    assert {request.path for request in requests} == {"/functions/v1/on-order"}
    assert {request.headers["content-type"] for request in requests} == {"application/json"}
    orders.wait_for_status(3)


def test_it_is_signed_as_well(orders, hook, change):
    """The one line that a handler gains: a signature that a library verifies."""
    verify_python(hook["secret"], change("INSERT INTO orders VALUES (1, 'Ada', 42)"))


def test_the_header_is_not_shown(orders, hook):
    """The key in the header is in no view and in no trigger."""
    assert orders.value("SELECT headers FROM webhook.webhooks") == {"Authorization": "***"}
    triggers = orders.rows("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure")
    assert triggers and "service-key" not in str(triggers)


def test_events_of_choice(orders, receiver, captured):
    """Only the chosen operations are sent."""
    orders.create("hook", receiver.url("/"), table_name="orders", format="supabase", events=["DELETE"])
    assert captured("INSERT INTO orders VALUES (1, 'Ada', 42)") == 0
    assert captured("UPDATE orders SET total = 50") == 0
    assert captured("DELETE FROM orders") == 1
