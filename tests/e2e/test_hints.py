"""What an error, webhook_check or webhook_why says is to be done is what helps, and no more is promised than happens."""

import psycopg
import pytest

from harness import wait_until
from harness.receiver import reply
from harness.status import check, why


@pytest.fixture
def items(db, receiver):
    """An ordinary role, with a table and a webhook that it has made."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=600)
    return db


def refused(db, statement, *args):
    """SQLSTATE, message, detail and hint."""
    with pytest.raises(psycopg.Error) as caught:
        db.run(statement, *args)
    said = caught.value.diag
    return said.sqlstate, said.message_primary, said.message_detail, said.message_hint


def failing(db):
    """What webhook_check says is to be done about requests that fail, once one has."""
    def found():
        return [hint for _, problem, hint in check(db) if problem.startswith("requests fail")]

    wait_until(found, lambda: str(check(db)))
    return found()[0]


# --- requests that fail ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status, says", [
    (404, "refuses what it gets"), (422, "refuses what it gets"), (500, "is not well"), (503, "is not well"), (429, "is not well"),
])
def test_a_receiver_that_refuses_and_one_that_is_not_well(items, receiver, status, says):
    receiver.on("/", reply(status))
    items.run("INSERT INTO items VALUES (1)")
    assert says in failing(items)


@pytest.mark.parametrize("setting, says, verdict, state", [
    ("max_retries => -1", "is sent again until retry_for is over, unless", "tried again", "retrying"),
    ("max_retries => 3", "is sent again until retry_for is over, 3 times at most", "tried again", "retrying"),
    ("max_retries => 0", "No event is sent again (max_retries)", "dead letter", "dead"),
    ("retry_for => '0'", "No event is sent again (retry_for)", "dead letter", "dead"),
])
def test_what_is_sent_again_is_up_to_settings(items, receiver, setting, says, verdict, state):
    items.run(f"SELECT webhook_update('hook', {setting})")
    receiver.on("/", reply(500))
    items.run("INSERT INTO items VALUES (1)")
    assert says in failing(items)
    items.wait_for_status(1, state)
    assert [row[1] for row in why(items, ("INSERT", '{"id": 2}', None))] == [verdict]


def test_what_an_answer_ends_is_not_sent_again(items, receiver):
    receiver.on("/", reply(500, headers={"webhook-delivery": "abort"}))
    items.run("INSERT INTO items VALUES (1)")
    assert "unless the answer forbids it" in failing(items)
    items.wait_for_status(1, "dead")


def test_nothing_is_sent_again_of_one_that_has_been_paused(items, receiver):
    receiver.on("/", reply(410))
    items.run("INSERT INTO items VALUES (1)")
    wait_until(lambda: "paused by the worker" in str(check(items)), "the pause")
    assert failing(items).endswith("Nothing is sent again before the webhook is resumed.")


def test_a_port_without_tls_has_no_certificate(items, receiver):
    items.run("SELECT webhook_update('hook', url => %s)", receiver.url("/").replace("http:", "https:"))
    items.run("INSERT INTO items VALUES (1)")
    hint = failing(items)
    assert "does not speak TLS" in hint and "certificate" not in hint


# --- signatures and secrets --------------------------------------------------------------------------------

# That of docs/receivers.md.
SECRET, BODY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'
HEADERS = (
    '{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",'
    ' "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}'
)


def test_headers_without_a_type_are_no_signature(items):
    """A literal without a type is a text, and so one signature: instead of false it is said what to write."""
    def verify(headers):
        return f"SELECT webhook_verify('{BODY}', {headers}, secret => '{SECRET}', tolerance => NULL)"

    code, message, _, hint = refused(items, verify(f"'{HEADERS}'"))
    assert code == "22023" and "JSON object" in message and "jsonb" in hint
    assert items.value(verify(f"'{HEADERS}'::jsonb")) is True
    assert items.value(verify(f"headers => '{HEADERS}'")) is True
    assert items.value(verify("'sha256=00'")) is False


def test_a_kept_secret_that_does_not_fit(items, receiver):
    """Nobody has left out a secret that could be generated: the one that is there is not what the other signature needs."""
    url, secret = receiver.url("/"), "the secret of the receiver"
    items.create("old", url, table_name="items", format="truss", secret=secret)
    changes = [
        "SELECT webhook_update('old', format => 'default')", "SELECT webhook_update('old', signature => 'standard')",
        f"SELECT webhook_create('old', '{url}', 'items', if_exists => 'replace')",
    ]
    for change in changes:
        code, message, _, hint = refused(items, change)
        assert (code, message) == ("22023", 'the secret of webhook "old" does not fit signature "standard"')
        assert "secret => " in hint and "public.webhook_rotate_secret" in hint and "signature => 'hex'" in hint
        assert "Leave secret out" not in hint and secret not in hint
    # Each of the three ways.
    items.run("SELECT webhook_update('old', format => 'default', signature => 'hex')")
    items.run("SELECT webhook_update('old', signature => 'standard', secret => %s)", SECRET)
    items.create("older", url, table_name="items", format="truss", secret=secret)
    items.run("SELECT webhook_rotate_secret('older'); SELECT webhook_update('older', format => 'default')")


# --- arguments and settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", ["INSERT", "insert", "PAID", "a b", ""])
def test_a_type_that_cannot_be_emitted(items, event_type):
    code, message, _, hint = refused(items, "SELECT webhook_emit(%s, '{}')", event_type)
    assert (code, message) == ("22023", f'"{event_type}" cannot be the type of an emitted event')
    assert "invoice.paid" in hint and "It is one of" not in hint


@pytest.mark.parametrize("setting", ["disable_after", "max_backlog_age", "dead_letter_retention"])
def test_an_interval_of_which_zero_means_something(items, setting):
    _, message, _, _ = refused(items, f"SELECT webhook_update('hook', {setting} => '1 ms')")
    assert message.startswith(f"{setting} must be between 1 second and 10 years, or 0 (")


@pytest.mark.parametrize("name, value, kind", [
    ("context", "x", "a JSON object"), ("context", "[1]", "a JSON object"), ("session_variables", "x", "JSON"),
])
def test_what_a_setting_must_be(items, name, value, kind):
    code, _, detail, _ = refused(items, f"SET pg_webhook.{name} = '{value}'")
    assert code == "22023" and detail.startswith(f"It must be {kind}: ")


def test_all_rights_that_are_missing_are_named_at_once(items, people, receiver):
    other = people("oth", "member")
    create = f"SELECT webhook_create('theirs', '{receiver.url('/')}', 'public.items')"
    code, _, detail, _ = refused(other, create)
    assert code == "42501" and "TRIGGER" in detail and "SELECT" in detail
    items.run(f"GRANT SELECT ON items TO {other.role}")
    assert "SELECT" not in refused(other, create)[2]
    items.run(f"GRANT TRIGGER ON items TO {other.role}; REVOKE SELECT ON items FROM {other.role}")
    assert "TRIGGER" not in refused(other, create)[2]
    items.run(f"GRANT SELECT ON items TO {other.role}")
    other.run(create)
