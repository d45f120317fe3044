"""A receiver and a user of TruLayer webhooks."""

import hmac
import json

import psycopg
import pytest

from harness.checks import hex_hmac, recent
from harness.receiver import checked, hang, reply

SECRET = "at-least-16-chars-random-secret"
KEYS = ["event", "data", "timestamp"]
FAILURE = {"trace_id": "018f1234", "failure": "hallucination"}


def verified(request):
    """The check that a receiver of TruLayer makes."""
    expected = "sha256=" + hex_hmac(SECRET, request.body)
    return hmac.compare_digest(request.headers.get("x-trulayer-signature", ""), expected)


@pytest.fixture
def hook(orders, receiver):
    receiver.default(checked(verified))
    return orders.create(
        "trulayer", receiver.url("/"), format="trulayer", events=["failure.detected"], secret=SECRET,
    )


def emit(db):
    return db.value(
        "SELECT webhook_emit('failure.detected', %s::jsonb)", json.dumps(FAILURE)
    )


def test_an_event(orders, hook, receiver):
    """The documented body and signature."""
    assert emit(orders) == 1
    [request] = receiver.wait(1)
    body = json.loads(request.body)
    assert list(body) == KEYS
    assert (body["event"], body["data"]) == ("failure.detected", FAILURE)
    assert recent(body["timestamp"])
    orders.wait_for_status(1)


def test_rows_as_events(orders, receiver, row_changes):
    """Changes of a table have types and data of their own in this format."""
    orders.create("rows", receiver.url("/"), table_name="orders", format="trulayer", secret=SECRET)
    receiver.default(checked(verified))
    bodies = [json.loads(request.body) for request in row_changes()]
    assert [list(body) for body in bodies] == [KEYS] * 3
    row, later = {"id": 1, "customer": "Ada", "total": 42}, {"id": 1, "customer": "Ada", "total": 50}
    assert [(b["event"], b["data"]["record"], b["data"]["old_record"]) for b in bodies] == [
        ("orders.insert", row, None), ("orders.update", later, row), ("orders.delete", later, later),
    ]
    orders.wait_for_status(3)


def test_url_errors_by_key(strict_db):
    """A URL that is not acceptable is refused with TruLayer's own keys, and looked up as TruLayer does where that is asked for."""
    db = strict_db(pg_webhook__require_resolvable="on")
    for url, key in [
        ("http://example.com/hook", "webhook.url.not_https"),
        ("https://127.0.0.1/hook", "webhook.url.private_ip"),
        ("https://10.0.0.1/hook", "webhook.url.private_ip"),
        ("https://169.254.169.254/hook", "webhook.url.private_ip"),
        ("https://no-such-host.invalid/hook", "webhook.url.unresolvable"),
        ("https://user:password@1.1.1.1/hook", "webhook.url.invalid"),
    ]:
        with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
            db.create("hook", url, format="trulayer", secret=SECRET)
        assert caught.value.diag.message_detail.startswith(key), url


def test_the_secret_has_16_characters(orders, receiver):
    """A shorter secret is refused, one of 16 characters is not."""
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        orders.create("hook", receiver.url("/"), format="trulayer", secret="fifteen-letters")
    made = orders.create("hook", receiver.url("/"), format="trulayer", secret="sixteen-letters!")
    assert made["secret"] == "sixteen-letters!"


def test_enabled(orders, hook, receiver):
    """Deliveries are active unless `enabled` is false."""
    assert hook["enabled"] is True
    orders.run("SELECT webhook_update('trulayer', enabled => false)")
    assert emit(orders) == 0
    orders.run("SELECT webhook_update('trulayer', enabled => true)")
    assert emit(orders) == 1
    assert len(receiver.wait(1)) == 1


def test_a_ping_before_enabling(orders, hook, receiver):
    """A test of a disabled webhook sends a signed `ping` and returns status and body."""
    orders.run("SELECT webhook_update('trulayer', enabled => false)")
    test = "SELECT status_code, response_body FROM webhook_test('trulayer')"
    assert orders.rows(test) == [(200, "ok")]
    [request] = receiver.got()
    body = json.loads(request.body)
    assert list(body) == KEYS and body["event"] == "ping"
    assert verified(request)
    receiver.default(reply(422, b"x" * 4096 + b"y" * 4096))
    assert orders.rows(test) == [(422, "x" * 4096)]


@pytest.mark.parametrize("trouble", ["refused", "timeout"])
def test_a_ping_that_nobody_answers(orders, receiver, trouble):
    """Where the endpoint cannot be reached, the status is 0."""
    orders.create("trulayer", receiver.url("/"), format="trulayer", timeout_seconds=1)
    receiver.default(hang())
    if trouble == "refused":
        receiver.down()
    [(status, body, error)] = orders.rows(
        "SELECT status_code, response_body, error FROM webhook_test('trulayer')"
    )
    assert (status, body) == (0, None) and error


@pytest.fixture
def person(orders, cluster):
    """Makes a role with a table of its own and a level, and connects as it."""
    made = []

    def person(name, level):
        role = f"{orders.name}_{name}"
        orders.run(f"CREATE ROLE {role} LOGIN")
        orders.run(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
        if level:
            orders.run(f"SELECT webhook_grant('{role}', '{level}')")
        connection = cluster.connect(orders.name, user=role)
        made.append((role, connection))
        connection.execute("CREATE TABLE things (id int)")
        return connection

    yield person
    for role, connection in made:
        connection.close()
        orders.run(f"DROP OWNED BY {role} CASCADE")
        orders.run(f"DROP ROLE {role}")


CREATE = "SELECT id::text FROM webhook_create(%s, %s, 'things', format => 'trulayer')"
NAMES = "SELECT name FROM webhook.webhooks ORDER BY name"


def test_levels(orders, receiver, person):
    """A viewer reads, a member manages its own, an admin manages all."""
    ann, bob = person("ann", "member"), person("bob", "member")
    eve, admin = person("eve", "viewer"), person("root", "admin")
    uuid = ann.execute(CREATE, ["anns", receiver.url("/")]).fetchone()[0]
    bob.execute(CREATE, ["bobs", receiver.url("/")])
    assert ann.execute(NAMES).fetchall() == [("anns",)]
    assert bob.execute(NAMES).fetchall() == [("bobs",)]
    assert eve.execute(NAMES).fetchall() == []
    assert admin.execute(NAMES).fetchall() == [("anns",), ("bobs",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        eve.execute(CREATE, ["eves", receiver.url("/")])
    for name in ("anns", uuid):
        with pytest.raises(psycopg.errors.UndefinedObject, match="does not exist"):
            bob.execute("SELECT webhook_test(%s)", [name])
    admin.execute("SELECT webhook_delete('anns')")
    assert ann.execute(NAMES).fetchall() == []


def test_a_level_that_is_taken_back(orders, receiver, person):
    """After `webhook_revoke` a member is nobody."""
    ann, nobody = person("ann", "member"), person("nobody", None)
    ann.execute(CREATE, ["anns", receiver.url("/")])
    orders.run(f"SELECT webhook_revoke('{orders.name}_ann', 'member')")
    for connection in (ann, nobody):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(CREATE, ["another", receiver.url("/")])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(NAMES)
