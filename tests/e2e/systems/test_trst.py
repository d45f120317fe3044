"""A receiver and a user of TRST webhooks."""

import hmac
import json

import psycopg
import pytest

from harness.checks import hex_hmac, recent
from harness.receiver import after, checked, reply

KEYS = ["event_id", "event_type", "data", "created_at"]
ENROLLMENT = {"enrollment": 7, "name": "Ünïcödé"}


def verified(secret):
    """The check that a receiver of TRST makes: the key is the whole secret, `whsec_` and all."""
    def genuine(request):
        expected = "sha256=" + hex_hmac(secret, request.body)
        return hmac.compare_digest(request.headers.get("x-webhook-signature", ""), expected)

    return genuine


@pytest.fixture
def hook(orders, receiver):
    """A webhook for two types of application events, and no table."""
    made = orders.create(
        "trst", receiver.url("/"), format="trst", events=["enrollment.completed", "demo.scan.success"],
        retry_backoff_seconds=1,
    )
    receiver.default(checked(verified(made["secret"])))
    return made


def emit(db, event_type="enrollment.completed", data=ENROLLMENT):
    """Emit an event; returns to how many webhooks it goes."""
    return db.value("SELECT webhook_emit(%s, %s::jsonb)", event_type, json.dumps(data))


def test_the_secret_is_returned_once(orders, hook):
    """A generated secret begins with `whsec_` and can be read nowhere afterwards."""
    assert hook["secret"].startswith("whsec_")
    for view in ("webhooks", "deliveries", "attempts"):
        shown = orders.value(f"SELECT string_agg(v::text, '') FROM webhook.{view} v") or ""
        assert hook["secret"][6:] not in shown


def test_an_application_event(orders, hook, receiver):
    """The documented body and signature of an event that is subscribed to."""
    assert emit(orders) == 1
    [request] = receiver.wait(1)
    body = json.loads(request.body)
    assert list(body) == KEYS
    assert (body["event_type"], body["data"]) == ("enrollment.completed", ENROLLMENT)
    assert body["event_id"] == request.id
    assert recent(body["created_at"])
    orders.wait_for_status(1)
    assert orders.rows("SELECT event_type, table_name FROM webhook.deliveries") == [
        ("enrollment.completed", None)
    ]


def test_event_types(orders, hook, receiver):
    """Only the types that are subscribed to are sent."""
    assert emit(orders, "enrollment.failed") == 0
    assert emit(orders, "enrollment.completed.twice") == 0
    assert emit(orders, "demo.scan.success") == 1
    assert orders.value("SELECT count(*) FROM webhook.deliveries") == 1


def test_a_rollback_takes_the_event_back(orders, hook):
    """An event belongs to the transaction that emits it."""
    with pytest.raises(ZeroDivisionError), orders.connection.transaction():
        assert emit(orders) == 1
        raise ZeroDivisionError
    assert orders.value("SELECT count(*) FROM webhook.deliveries") == 0


def test_rows_as_events(orders, receiver, row_changes):
    """Changes of a table have types and data of their own in this format."""
    secret = orders.create("rows", receiver.url("/"), table_name="orders", format="trst")["secret"]
    receiver.default(checked(verified(secret)))
    bodies = [json.loads(request.body) for request in row_changes()]
    assert [list(body) for body in bodies] == [KEYS] * 3
    row, later = {"id": 1, "customer": "Ada", "total": 42}, {"id": 1, "customer": "Ada", "total": 50}
    assert [(b["event_type"], b["data"]["record"], b["data"]["old_record"]) for b in bodies] == [
        ("orders.insert", row, None), ("orders.update", later, row), ("orders.delete", later, later),
    ]
    orders.wait_for_status(3)


def test_event_id_is_for_deduplication(orders, hook, receiver):
    """Every retry and replay of an event carries the same `event_id`."""
    receiver.on("/", reply(500), reply(200))
    emit(orders)
    receiver.wait(2)
    orders.wait_for_status(1)
    orders.run("SELECT webhook_replay(id) FROM webhook.deliveries")
    ids = {json.loads(request.body)["event_id"] for request in receiver.wait(3)}
    assert len(ids) == 1
    emit(orders)
    assert json.loads(receiver.wait(4)[-1].body)["event_id"] not in ids


@pytest.mark.parametrize("behaviour, status_code", [
    (reply(301), 301), (reply(404), 404), (reply(500), 500), (after(2, reply(200)), 0),
])
def test_only_2xx_in_time_is_success(orders, receiver, later, behaviour, status_code):
    """Any other status, and a 200 after the timeout, is a failure that is retried."""
    receiver.default(behaviour)
    orders.create(
        "trst", receiver.url("/"), format="trst", events=["a.b"], timeout_seconds=1,
        retry_backoff_seconds=3600,
    )
    emit(orders, "a.b")
    assert later("status, status_code") == ("retrying", status_code)


def test_backoff_for_14_days(orders, receiver):
    """Retries come later and later, and go on for as long as 14 days."""
    receiver.default(reply(500))
    orders.create(
        "trst", receiver.url("/"), format="trst", events=["a.b"], retry_backoff_seconds=1,
        retry_for="14 days",
    )
    assert orders.value("SELECT retry_for = '14 days' FROM webhook.webhooks")
    emit(orders, "a.b")
    first, second, third = (request.time for request in receiver.wait(3))
    assert third - second > 1.2 * (second - first)


def test_deliveries_and_their_attempts(orders, hook, receiver):
    """Each delivery is listed with all of its attempts."""
    receiver.on("/", reply(503, b"closed"), reply(200, b"thank you"))
    emit(orders)
    orders.wait_for_status(1)
    assert orders.rows(
        "SELECT d.event_type, d.status, d.attempts, a.attempt, a.status_code, a.response_body"
        " FROM webhook.deliveries d JOIN webhook.attempts a ON a.delivery_id = d.id ORDER BY a.attempt"
    ) == [
        ("enrollment.completed", "delivered", 2, 1, 503, "closed"),
        ("enrollment.completed", "delivered", 2, 2, 200, "thank you"),
    ]


def test_the_test_event(orders, hook, receiver):
    """A test is a signed event of type `webhook.test`."""
    assert orders.rows("SELECT status_code, error FROM webhook_test('trst')") == [(200, None)]
    body = json.loads(receiver.got()[0].body)
    assert list(body) == KEYS and body["event_type"] == "webhook.test"


def test_registration_is_limited(strict_db):
    """https only, no private network, and no more webhooks than the limit."""
    db = strict_db(pg_webhook__max_webhooks=1, pg_webhook__require_resolvable="on")
    for url in ("http://1.1.1.1/", "https://192.168.0.1/", "https://localhost/"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            db.create("trst", url, format="trst", events=["a.b"])
    db.create("trst", "https://1.1.1.1/", format="trst", events=["a.b"])
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        db.create("another", "https://1.1.1.1/", format="trst", events=["a.b"])
