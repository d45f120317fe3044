"""Standard Webhooks, verified by its published libraries for Python and Node."""

import base64
import json

import pytest
from standardwebhooks import WebhookVerificationError

from harness.checks import recent
from harness.receiver import reply
from harness.verify import verify_node, verify_python

ROW = {"id": 1, "customer": "Ada", "total": 42}
LATER = {**ROW, "total": 50}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.fixture
def hook(orders, receiver):
    return orders.create(
        "standard", receiver.url("/"), table_name="orders", format="standard", retry_backoff_seconds=2,
        events=["INSERT", "UPDATE", "DELETE", "invoice.*"],
    )


def verify(secret, *requests):
    """Both libraries accept all of the requests."""
    for request in requests:
        verify_python(secret, request)
    assert verify_node(secret, requests) == [None] * len(requests)


def test_payload(orders, hook, row_changes):
    """Type, timestamp and data, as the specification recommends them."""
    requests = row_changes()
    verify(hook["secret"], *requests)
    bodies = [json.loads(request.body) for request in requests]
    assert [list(body) for body in bodies] == [["type", "timestamp", "data"]] * 3
    assert [(b["type"], b["data"]["record"], b["data"]["old_record"]) for b in bodies] == [
        ("orders.insert", ROW, None), ("orders.update", LATER, ROW), ("orders.delete", LATER, LATER),
    ]
    assert all(recent(body["timestamp"]) for body in bodies)


def test_an_application_event(orders, hook, receiver):
    """An emitted event has its own type, and its data as they were given."""
    orders.run("""SELECT webhook_emit('invoice.paid', '{"id": 7, "name": "Ünïcödé"}')""")
    [request] = receiver.wait(1)
    verify(hook["secret"], request)
    body = json.loads(request.body)
    assert (body["type"], body["data"]) == ("invoice.paid", {"id": 7, "name": "Ünïcödé"})


@pytest.mark.parametrize("format", [
    "default", "truss", "fluxbase", "trst", "trulayer", "hasura", "supabase", "cloudevents",
])
def test_the_signature_with_any_format(orders, receiver, change, format):
    """Any format can be signed this way."""
    made = orders.create(
        "hook", receiver.url("/"), table_name="orders", format=format, signature="standard"
    )
    verify(made["secret"], change("INSERT INTO orders VALUES (1, 'Ünïcödé', 42)"))


def test_retries_are_signed_anew(orders, hook, receiver):
    """Each attempt has the event's id and its own time and signature."""
    receiver.on("/", reply(500), reply(200))
    orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    first, second = receiver.wait(2)
    verify(hook["secret"], first, second)
    assert first.id == second.id and first.body == second.body
    assert int(first.headers["webhook-timestamp"]) < int(second.headers["webhook-timestamp"])
    assert [r.headers["webhook-attempt"] for r in (first, second)] == ["1", "2"]


def test_generated_secrets(hook):
    """A generated secret has the form that the specification asks for."""
    assert hook["secret"].startswith("whsec_")
    assert 24 <= len(base64.b64decode(hook["secret"][6:], validate=True)) <= 64


def test_rotation(orders, hook, change):
    """While two secrets overlap both verify, and afterwards the new one only."""
    new = orders.value("SELECT webhook_rotate_secret('standard')")
    request = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    verify(hook["secret"], request)
    verify(new, request)
    newest = orders.value("SELECT webhook_rotate_secret('standard', overlap => '0')")
    request = change("DELETE FROM orders")
    verify(newest, request)
    for old in (hook["secret"], new):
        with pytest.raises(WebhookVerificationError):
            verify_python(old, request)


def test_the_vector_in_sql(db):
    """`webhook_sign` gives what the reference implementations give."""
    assert db.value(
        "SELECT webhook_sign(%s, %s, id => 'msg_p5jXN8AQM9LWM0D4loKWxJek',"
        " sent_at => to_timestamp(1614265330))",
        BODY, SECRET,
    ) == SIGNATURE


def test_verification_in_sql(orders, hook, change):
    """`webhook_verify` takes what arrived, and nothing that differs or is old."""
    request = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    verify = "SELECT webhook_verify(%s, %s::jsonb, %s)"
    body, headers = request.body.decode(), request.headers
    capitals = {name.title(): value for name, value in headers.items()}
    assert orders.value(verify, body, json.dumps(headers), hook["secret"]) is True
    assert orders.value(verify, body, json.dumps(capitals), hook["secret"]) is True
    assert orders.value(verify, body + " ", json.dumps(headers), hook["secret"]) is False
    assert orders.value(verify, body, json.dumps(headers), SECRET) is False
    assert orders.value(verify, body, "{}", hook["secret"]) is False
    old = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }
    assert orders.value(verify, BODY, json.dumps(old), SECRET) is False
    assert orders.value(
        "SELECT webhook_verify(%s, %s::jsonb, %s, tolerance => NULL)", BODY, json.dumps(old), SECRET
    ) is True
