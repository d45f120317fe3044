"""A receiver and a user of Hasura event triggers."""

import hmac
import json

import pytest

from harness.checks import recent
from harness.receiver import checked, reply

ROW = {"id": 1, "customer": "Ada", "total": 42}
LATER = {**ROW, "total": 50}
EDITOR = {"x-hasura-role": "editor", "x-hasura-user-id": "7"}
INSERT = "INSERT INTO orders VALUES (1, 'Ada', 42)"


def verified(request):
    """The check that a receiver of Hasura makes: a header that both sides know."""
    return hmac.compare_digest(request.headers.get("x-webhook-secret", ""), "a shared secret")


@pytest.fixture
def hook(orders, receiver):
    receiver.default(checked(verified))
    return orders.create(
        "order_trigger", receiver.url("/"), table_name="orders", format="hasura",
        headers=json.dumps({"X-Webhook-Secret": "a shared secret"}),
    )


def data(request):
    """The operation with the old and the new row."""
    event = json.loads(request.body)["event"]
    return event["op"], event["data"]["old"], event["data"]["new"]


def test_payload(orders, hook, row_changes):
    """The documented nested body, for each operation."""
    requests = row_changes()
    assert [data(request) for request in requests] == [
        ("INSERT", None, ROW), ("UPDATE", ROW, LATER), ("DELETE", LATER, None),
    ]
    for request in requests:
        body = json.loads(request.body)
        assert list(body) == ["event", "created_at", "id", "trigger", "table"]
        assert list(body["event"]) == ["session_variables", "op", "data"]
        assert list(body["event"]["data"]) == ["old", "new"]
        assert body["event"]["session_variables"] is None
        assert body["id"] == request.id
        assert body["trigger"] == {"name": "order_trigger"}
        assert body["table"] == {"schema": "public", "name": "orders"}
        assert recent(body["created_at"])
    orders.wait_for_status(3)


@pytest.mark.parametrize("settings, expected", [
    ({"hasura.user": json.dumps(EDITOR)}, EDITOR),
    ({"pg_webhook.session_variables": json.dumps(EDITOR)}, EDITOR),
    ({"pg_webhook.session_variables": '{"a": "b"}', "hasura.user": json.dumps(EDITOR)}, EDITOR),
    ({"pg_webhook.session_variables": json.dumps(EDITOR), "hasura.user": ""}, EDITOR),
    ({"hasura.user": "not JSON"}, None),
], ids=["hasura.user", "own setting", "both", "hasura.user is empty", "not JSON"])
def test_session_variables(orders, hook, receiver, settings, expected):
    """Who made the change is taken from the session's settings, and never stops a write."""
    with orders.connection.transaction():
        for name, value in settings.items():
            orders.run("SELECT set_config(%s, %s, true)", name, value)
        orders.run(INSERT)
    [request] = receiver.wait(1)
    assert json.loads(request.body)["event"]["session_variables"] == expected


def test_session_variables_end_with_the_transaction(orders, hook, receiver, change):
    """A setting of one transaction, which leaves an empty one behind, is not sent with the next."""
    with orders.connection.transaction():
        orders.run("SELECT set_config('hasura.user', %s, true)", json.dumps(EDITOR))
        orders.run(INSERT)
    receiver.wait(1)
    request = change("DELETE FROM orders")
    assert json.loads(request.body)["event"]["session_variables"] is None


def test_an_update_counts_only_when_distinct(orders, hook, captured):
    """An UPDATE that changes nothing is no event."""
    orders.run(INSERT)
    assert captured("UPDATE orders SET total = total, customer = 'Ada'") == 0
    assert captured("UPDATE orders SET total = NULL") == 1
    assert captured("UPDATE orders SET total = NULL") == 0


def test_types_without_equality(orders, hook, captured):
    """Where a type has no equality, what is stored is compared."""
    orders.run("CREATE TABLE docs (id int, doc json, place point)")
    orders.run("SELECT webhook_watch('order_trigger', 'docs')")
    orders.run("""INSERT INTO docs VALUES (1, '{"a": 1}', '(1,2)')""")
    assert captured("""UPDATE docs SET doc = '{"a": 1}', place = '(1,2)'""") == 0
    assert captured("""UPDATE docs SET doc = '{"a":1}'""") == 1
    assert captured("UPDATE docs SET place = '(1,3)'") == 1


def test_listen_columns_and_payload(orders, receiver, change, captured):
    """Updates of other columns do not count, and only chosen columns are sent."""
    orders.create(
        "hook", receiver.url("/"), table_name="orders", format="hasura", columns=["total"],
        payload_columns=["id", "total"],
    )
    assert data(change(INSERT)) == ("INSERT", None, {"id": 1, "total": 42})
    assert captured("UPDATE orders SET customer = 'Bob'") == 0
    assert data(change("UPDATE orders SET total = 50")) == (
        "UPDATE", {"id": 1, "total": 42}, {"id": 1, "total": 50}
    )


def test_retry_after(orders, receiver, later):
    """A receiver says when it wants the event again."""
    receiver.default(reply(503, headers={"retry-after": "120"}))
    orders.create("hook", receiver.url("/"), table_name="orders", format="hasura")
    orders.run(INSERT)
    status, wait = later("status, extract(epoch FROM next_attempt_at - created_at)::float")
    assert status == "retrying" and 119 < wait < 150


def test_manual_invocation_of_a_row(orders, hook, change):
    """A row of the table is sent by hand."""
    orders.run("SET pg_webhook.capture = off")
    orders.run(INSERT)
    request = change("SELECT webhook_invoke('order_trigger', o) FROM orders o WHERE id = 1")
    assert data(request) == ("MANUAL", None, ROW)
    body = json.loads(request.body)
    assert body["table"] == {"schema": "public", "name": "orders"}
    assert body["trigger"] == {"name": "order_trigger"}
    orders.wait_for_status(1)


def test_manual_invocation_of_any_select(orders, hook, receiver):
    """The rows of any SELECT are sent by hand, one event each."""
    orders.run(
        "SELECT webhook_invoke('order_trigger', r) FROM ("
        "  SELECT i AS id, repeat('x', i) AS name FROM generate_series(1, 3) i"
        ") r"
    )
    sent = sorted((data(request) for request in receiver.wait(3)), key=lambda sent: sent[2]["id"])
    assert sent == [("MANUAL", None, {"id": i, "name": "x" * i}) for i in (1, 2, 3)]
    assert orders.value("SELECT count(*) FROM webhook.deliveries WHERE event_type = 'MANUAL'") == 3


def test_redelivery(orders, hook, change):
    """An event is sent again, with its id and its bytes."""
    first = change(INSERT)
    orders.wait_for_status(1)
    again = change("SELECT webhook_replay(id) FROM webhook.deliveries")
    assert (again.body, again.id) == (first.body, first.id)
