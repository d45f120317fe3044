"""Any number of rotations overlap. Who verifies are the reference libraries of Standard Webhooks for Python and Node."""

import psycopg
import pytest
from standardwebhooks import WebhookVerificationError

from harness import wait_until
from harness.checks import hex_hmac
from harness.verify import verify_node, verify_python

GIVEN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def items(db):
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    return db


def rotate(db, arguments=""):
    return db.value(f"SELECT webhook_rotate_secret('hook'{arguments})")


def sent(db, receiver):
    """The request that the next change causes."""
    number = len(receiver.got())
    db.run("INSERT INTO items SELECT coalesce(max(id), 0) + 1 FROM items")
    return receiver.wait(number + 1)[number]


def accepts(secret, request):
    """Whether both libraries do; they agree."""
    try:
        verify_python(secret, request)
        python = True
    except WebhookVerificationError:
        python = False
    assert (verify_node(secret, [request]) == [None]) == python
    return python


def test_every_secret_signs_until_its_own_overlap_ends(items, receiver):
    """Also where a later one has a shorter overlap."""
    secrets = [items.create("hook", receiver.url("/"), table_name="items")["secret"]]
    secrets += [rotate(items), rotate(items, ", '5 seconds'"), rotate(items)]
    request = sent(items, receiver)
    assert len(request.headers["webhook-signature"].split(" ")) == 4
    assert [accepts(secret, request) for secret in secrets] == [True] * 4
    assert request.headers["webhook-signature"].split(" ")[0] == items.value(
        "SELECT webhook_sign(%s, %s, id => %s, sent_at => to_timestamp(%s))",
        request.body.decode(), secrets[-1], request.id, int(request.headers["webhook-timestamp"]),
    ), "the newest is the first"

    def over():
        return len(sent(items, receiver).headers["webhook-signature"].split(" ")) == 3

    wait_until(over, "the end of the shortest overlap", interval=0.3)
    request = sent(items, receiver)
    # The second's overlap was to last for a while only.
    assert [accepts(secret, request) for secret in secrets] == [True, False, True, True]
    rotate(items)
    assert items.judge.value("SELECT cardinality(previous_keys) FROM webhook.secret") == 3, "one that has ended is kept"


def test_no_part_of_a_second_is_taken_from_an_overlap(items, receiver):
    """Receivers are told whole seconds; who ends an overlap a moment before its time breaks those that have the old secret only."""
    items.create("hook", receiver.url("/"), table_name="items")
    overlapped = 0
    # Most of these begin and end within one second.
    for _ in range(8):
        rotate(items, ", '300 milliseconds'")
        request = sent(items, receiver)
        signed = len(request.headers["webhook-signature"].split(" ")) - 1
        overlaps = items.judge.value(
            "SELECT count(*) FROM webhook.secret, unnest(previous_until) AS u (until) WHERE u.until > to_timestamp(%s)",
            int(request.headers["webhook-timestamp"]),
        )
        assert signed == overlaps
        overlapped += signed
    assert overlapped > 0


def test_without_an_overlap_the_new_one_signs_alone(items, receiver):
    secrets = [items.create("hook", receiver.url("/"), table_name="items")["secret"]]
    secrets += [rotate(items), rotate(items, ", '0'")]
    assert [accepts(secret, sent(items, receiver)) for secret in secrets] == [False, False, True]
    secrets += [rotate(items), items.run("SELECT webhook_update('hook', secret => %s)", GIVEN) and GIVEN]
    request = sent(items, receiver)
    assert [accepts(secret, request) for secret in secrets] == [False] * 4 + [True]


@pytest.mark.parametrize("signature, header, prefix", [("hex", "x-truss-signature", ""), ("sha256", "x-webhook-signature", "sha256=")])
def test_where_there_is_room_for_one_the_oldest_signs(items, receiver, signature, header, prefix):
    first = items.create("hook", receiver.url("/"), table_name="items", signature=signature)["secret"]
    rotate(items, ", '30 days'")
    rotate(items)
    request = sent(items, receiver)
    assert request.headers[header] == prefix + hex_hmac(first, request.body)
    newest = rotate(items, ", '0'")
    request = sent(items, receiver)
    assert request.headers[header] == prefix + hex_hmac(newest, request.body)


def test_a_secret_of_ones_own(items, receiver):
    first = items.create("hook", receiver.url("/"), table_name="items")["secret"]
    assert rotate(items, f", secret => '{GIVEN}'") == GIVEN
    request = sent(items, receiver)
    assert accepts(first, request) and accepts(GIVEN, request)
    # One that comes back is the newest again, and is there once.
    assert rotate(items, f", secret => '{first}'") == first
    request = sent(items, receiver)
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    assert accepts(first, request) and accepts(GIVEN, request)
    for given, says in [("too short", "invalid secret"), ("sixteen letters, and no base64", "invalid secret"),
                        (first, "the webhook has this secret already")]:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=says) as caught:
            rotate(items, f", secret => '{given}'")
        assert given not in str(caught.value)
    items.run("SELECT webhook_update('hook', signature => 'sha256')")
    assert rotate(items, ", secret => 'sixteen letters, and no base64'") == "sixteen letters, and no base64"
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        rotate(items, ", NULL")


def test_ten_secrets_sign_and_an_eleventh_is_refused(items, receiver):
    secrets = [items.create("hook", receiver.url("/"), table_name="items")["secret"]]
    secrets += [rotate(items, ", '30 days'") for _ in range(9)]
    request = sent(items, receiver)
    assert all(accepts(secret, request) for secret in secrets)
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="more than 10 secrets") as caught:
        rotate(items)
    assert "overlap => '0'" in caught.value.diag.message_hint
    secrets.append(rotate(items, ", '0'"))
    request = sent(items, receiver)
    assert [accepts(secret, request) for secret in secrets] == [False] * 10 + [True]
