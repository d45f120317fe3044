"""Receivers that were written for Svix, and the move from it as docs/migrating/svix.md has it."""

import dataclasses
import json

import pytest
from svix.webhooks import Webhook, WebhookVerificationError

from harness import pages, wait_until
from harness.receiver import reply
from harness.verify import verify_node

# As Svix makes them: 24 bytes.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def verify(secret, *requests):
    """Both packages accept all of the requests."""
    for request in requests:
        Webhook(secret).verify(request.body, request.headers)
    assert verify_node(secret, requests, "svix") == [None] * len(requests)


def refused(secret, request):
    """Whether each package, of Python and of Node, refuses the request."""
    try:
        Webhook(secret).verify(request.body, request.headers)
        python = False
    except WebhookVerificationError:
        python = True
    return python, verify_node(secret, [request], "svix") != [None]


@pytest.fixture
def hook(db, receiver):
    return db.create("invoices", receiver.url("/"), events=["invoice.*"], secret=SECRET, retry_backoff_seconds=1)


@pytest.mark.parametrize("format", ["default", "standard", "cloudevents"])
def test_the_library_takes_our_headers(db, receiver, format):
    """A receiver that uses the package goes on as it is, with the secret that it has."""
    db.create("invoices", receiver.url("/"), events=["invoice.*"], secret=SECRET, format=format)
    db.run("""SELECT webhook_emit('invoice.paid', '{"name": "Ünïcödé", "total": 42.00}')""")
    [request] = receiver.wait(1)
    assert not any(name.startswith("svix-") for name in request.headers)
    verify(SECRET, request)


def test_the_library_refuses_what_is_not_ours(db, hook, receiver):
    """It looks at the body, the id, the time and the secret."""
    db.run("SELECT webhook_emit('invoice.paid', '{}')")
    [request] = receiver.wait(1)
    verify(SECRET, request)
    for changed in (
        {"body": request.body + b" "},
        {"headers": {**request.headers, "webhook-id": "evt_1"}},
        {"headers": {**request.headers, "webhook-timestamp": "1614265330"}},
    ):
        assert refused(SECRET, dataclasses.replace(request, **changed)) == (True, True)
    assert refused("whsec_" + "A" * 32, request) == (True, True)


def test_each_attempt_and_a_rotated_secret(db, hook, receiver):
    """It takes retries, and either secret while one is being rotated."""
    receiver.on("/", reply(500), reply(200))
    new = db.value("SELECT webhook_rotate_secret('invoices')")
    db.run("SELECT webhook_emit('invoice.paid', '{}')")
    first, second = receiver.wait(2)
    assert first.id == second.id
    verify(SECRET, first, second)
    verify(new, first, second)


def test_what_svix_understands_in_an_answer(db, hook, receiver):
    """Its words for the header mean nothing here, and ours do."""
    status = "SELECT status FROM webhook.deliveries ORDER BY id DESC LIMIT 1"
    for asked, becomes, enabled in (
        ("abort-message", "retrying", True), ("disable", "retrying", True), ("abort", "dead", True), ("pause", "retrying", False),
    ):
        receiver.default(reply(500, headers={"webhook-delivery": asked}))
        db.run("SELECT webhook_emit('invoice.paid', '{}')")
        wait_until(lambda: db.value(status) == becomes, lambda: f"{becomes} after {asked}: {db.statuses()}")
        wait_until(lambda: (db.value("SELECT health FROM webhook.webhooks") != "paused") == enabled, asked)
        db.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status = 'retrying'")


def test_every_event_without_types(db, receiver):
    """`*` stands for the endpoint that has no event types."""
    db.create("all", receiver.url("/"), events=["*"])
    for type in ("invoice.paid", "user.created"):
        db.run("SELECT webhook_emit(%s, '{}')", type)
    assert {json.loads(request.body)["event"] for request in receiver.wait(2)} == {"invoice.paid", "user.created"}


def test_the_move(db, receiver):
    """The page's SQL, from the first webhook to the comparison."""
    db.hand_over()
    create, test, emit, compare = pages.sql_of("migrating/svix.md")["Move"]
    pages.run(db, create, receiver)
    [[(status, _)]] = pages.run(db, test, receiver)
    assert status == 200
    pages.run(db, emit, receiver)
    request = receiver.wait(2)[1]
    verify(SECRET, request)
    assert json.loads(request.body) == {"id": "evt_1042", "invoice": 7}, "the payload, and nothing around it"
    db.wait_for_status(2, "delivered")
    *_, waiting, cancelled, _ = pages.run(db, compare, receiver)
    assert [(type, json.loads(body)) for type, body in waiting] == [("invoice.paid", {"id": "evt_1043", "invoice": 8})]
    assert cancelled == [(True,)]
    db.run("""SELECT webhook_emit('invoice.paid', '{"id": "evt_1044"}')""")
    assert [json.loads(r.body)["id"] for r in receiver.wait(3)[1:]] == ["evt_1042", "evt_1044"]
