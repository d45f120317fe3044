"""What none of the other systems has, as a user of the SQL functions sees it."""

import json

import pytest

from harness import wait_until
from harness.receiver import reply
from harness.verify import verify_python

ROW = {"id": 1, "customer": "Ada", "total": 42}
INSERT = "INSERT INTO orders VALUES (1, 'Ada', 42)"


@pytest.fixture
def hook(orders, receiver):
    return orders.create("hook", receiver.url("/"), table_name="orders")


def test_a_transform(orders, receiver, change, captured):
    """A function turns the payload into another, and NULL drops the event."""
    orders.run("""
        CREATE FUNCTION shape(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$
            SELECT jsonb_build_object('text', payload->'record'->>'customer' || ' ordered')
            WHERE (payload->'record'->>'total')::int > 10
        $$
    """)
    made = orders.create(
        "hook", receiver.url("/"), table_name="orders", transform="shape(jsonb)", events=["INSERT"],
    )
    request = change(INSERT)
    assert json.loads(request.body) == {"text": "Ada ordered"}
    verify_python(made["secret"], request)
    assert captured("INSERT INTO orders VALUES (2, 'Bob', 5)") == 0


def test_payload_columns(orders, receiver, change):
    """Only the chosen columns leave the database, old rows included."""
    orders.create("hook", receiver.url("/"), table_name="orders", payload_columns=["id"])
    change(INSERT)
    body = json.loads(change("UPDATE orders SET total = 50").body)
    assert (body["record"], body["old_record"]) == ({"id": 1}, {"id": 1})


def test_truncate(orders, receiver, change, captured):
    """TRUNCATE is an event of its own where it is named."""
    orders.create("hook", receiver.url("/"), table_name="orders", events=["TRUNCATE"])
    assert captured(INSERT) == 0
    body = json.loads(change("TRUNCATE orders").body)
    assert (body["event"], body["table"]) == ("TRUNCATE", "orders")
    assert (body["record"], body["old_record"]) == (None, None)


@pytest.mark.parametrize("pattern, matches", [
    ("invoice.*", True), ("*", True), ("*.paid", True), ("invoice.paid", True),
    ("invoice", False), ("invoice.", False), ("order.*", False), ("invoice.paid.*", False),
    ("invoice_*", False), ("INVOICE.*", False),
])
def test_patterns_of_emitted_events(orders, receiver, pattern, matches):
    """`*` stands for anything, and nothing else has a meaning of its own."""
    orders.create("hook", receiver.url("/"), events=[pattern])
    assert orders.value("SELECT webhook_emit('invoice.paid', '{\"id\": 7}')") == int(matches)
    if matches:
        body = json.loads(receiver.wait(1)[0].body)
        assert (body["event"], body["data"]) == ("invoice.paid", {"id": 7})
        assert "record" not in body


def test_preview(orders, receiver, captured, change):
    """A preview is the request that a change would cause, without its secrets, and sends nothing."""
    orders.create(
        "hook", receiver.url("/"), table_name="orders", headers=json.dumps({"X-Key": "confidential"}),
        condition="NEW.total > 10", events=["INSERT"],
    )
    preview = (
        "SELECT method, url, headers, body, signature, reason"
        " FROM webhook_preview('hook', 'INSERT', %s::jsonb)"
    )
    [(method, url, headers, body, signature, reason)] = orders.rows(preview, json.dumps(ROW))
    assert (method, url, reason) == ("POST", receiver.url("/"), None)
    assert {name.lower(): value for name, value in headers.items()}["x-key"] == "***"
    assert signature.startswith("v1,")
    assert json.loads(body)["record"] == ROW
    sent = json.loads(change(INSERT).body)
    assert list(json.loads(body)) == list(sent)
    for op, row in [("INSERT", {**ROW, "total": 1}), ("DELETE", ROW)]:
        [(_, _, _, body, signature, reason)] = orders.rows(
            preview.replace("INSERT", op), json.dumps(row)
        )
        assert body is None and signature is None and reason
    assert len(receiver.got()) == 1


def test_replay_all(orders, receiver):
    """Everything that died in a stretch of time is sent again, and nothing else."""
    orders.create("hook", receiver.url("/"), table_name="orders", max_retries=0)
    orders.run(INSERT)
    orders.wait_for_status(1)
    receiver.default(reply(500))
    orders.run("INSERT INTO orders VALUES (2, 'Bob', 1), (3, 'Cyd', 2)")
    orders.wait_for_status(2, "dead")
    receiver.default(reply(200))
    call = "webhook_replay_all('hook', since => now() - %s::interval, until => now(), status => %s)"
    assert orders.job(call, "0", "dead") == 0
    assert orders.job(call, "1 hour", "dead") == 2
    orders.wait_for_status(3)
    assert orders.job(call, "1 hour", "delivered") == 3
    orders.wait_for_status(6)


def test_cancel(orders, receiver, change):
    """A delivery that waits can be cancelled, stays in the log, and is not sent."""
    receiver.default(reply(500))
    orders.create("hook", receiver.url("/"), table_name="orders", retry_backoff_seconds=3600)
    change(INSERT)
    orders.wait_for_status(1, "retrying")
    orders.run("SELECT webhook_cancel(id) FROM webhook.deliveries")
    assert orders.statuses() == {"cancelled": 1}
    assert orders.value("SELECT pending FROM webhook.webhooks") == 0


def test_context(orders, hook, receiver, change):
    """What a session says about itself is part of the payload, in its transaction only."""
    with orders.connection.transaction():
        orders.run("""SET LOCAL pg_webhook.context = '{"request": "r-1", "user": 7}'""")
        orders.run(INSERT)
    [request] = receiver.wait(1)
    body = json.loads(request.body)
    assert body["context"] == {"request": "r-1", "user": 7} and list(body)[-1] == "context"
    assert "context" not in json.loads(change("DELETE FROM orders").body)


def test_capture_off(orders, hook, captured):
    """A session can import rows without events."""
    with orders.connection.transaction():
        orders.run("SET LOCAL pg_webhook.capture = off")
        assert captured(INSERT) == 0
    assert captured("DELETE FROM orders") == 1


def test_statistics(orders, hook, receiver):
    """Counts and percentiles of a webhook's deliveries."""
    orders.run("INSERT INTO orders SELECT i, 'Ada', i FROM generate_series(1, 20) i")
    orders.wait_for_status(20)
    # What is counted comes a second later.
    wait_until(lambda: orders.value("SELECT delivered FROM webhook.stats") == 20, "them to be counted")
    [(name, delivered, failed, pending, age, p50, p95, p99)] = orders.rows(
        "SELECT webhook, delivered, failed, pending, oldest_pending_age, p50_ms, p95_ms, p99_ms"
        " FROM webhook.stats"
    )
    assert (name, delivered, failed, pending, age) == ("hook", 20, 0, 0, None)
    assert 0 < p50 <= p95 <= p99


def test_a_webhook_of_this_transaction(orders, receiver):
    """A webhook sees later rows of the transaction that makes it, and a ROLLBACK undoes it."""
    with pytest.raises(ZeroDivisionError), orders.connection.transaction():
        orders.create("hook", receiver.url("/"), table_name="orders")
        raise ZeroDivisionError
    assert orders.value("SELECT count(*) FROM webhook.webhooks") == 0
    with orders.connection.transaction():
        orders.create("hook", receiver.url("/"), table_name="orders")
        orders.run(INSERT)
    assert json.loads(receiver.wait(1)[0].body)["record"] == ROW
