"""What a receiver's behaviour means for a delivery, on real sockets."""

import datetime
import email.utils
import json
import time

import pytest

from harness import wait_until
from harness.receiver import (
    after, checked, close, drip, endless, hang, head, raw, reply, reset,
)

# A wait that no test reaches, for webhooks that are to be tried once and looked at.
LATER = {"retry_backoff_seconds": 3600}
# Seconds that a machine with a lot else to do may add to what has an end.
LATE = 3


@pytest.fixture
def items(db):
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


def insert(db, count=1):
    db.run(
        "INSERT INTO items SELECT coalesce(max(id), 0) + i FROM items RIGHT JOIN generate_series(1, %s) i ON true GROUP BY i",
        count,
    )


def attempt(db):
    """The one attempt so far: (status_code, error_class, error, response_body)."""
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.attempts") == 1, "one attempt")
    return db.rows("SELECT status_code, error_class, error, response_body FROM webhook.attempts")[0]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
def test_2xx_is_delivered(items, receiver, status):
    receiver.on("/", reply(status, b"" if status == 204 else b"ok"))
    items.create("hook", receiver.url("/"), table_name="items")
    insert(items)
    items.wait_for_status(1)
    assert attempt(items)[:3] == (status, None, None)


@pytest.mark.parametrize("status, error_class", [
    (300, "redirect"), (304, "redirect"), (400, "http_status"), (401, "http_status"),
    (404, "http_status"), (409, "http_status"), (500, "http_status"), (503, "http_status"),
    (599, "http_status"),
])
def test_other_statuses_are_retried(items, receiver, status, error_class):
    receiver.on("/", reply(status, b"" if status == 304 else b"no"))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items)
    items.wait_for_status(1, "retrying")
    code, error, message, _ = attempt(items)
    assert (code, error) == (status, error_class) and str(status) in message
    assert items.value("SELECT next_attempt_at > now() + '40 minutes' FROM webhook.deliveries")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_never_followed(items, receiver, make_receiver, status):
    elsewhere = make_receiver()
    location = elsewhere.url("/stolen?token=of-query").replace("://", "://user:word@")
    receiver.on("/", reply(status, headers={"location": location}))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items)
    items.wait_for_status(1, "retrying")
    told = f"status {status} is not followed to {elsewhere.url('/stolen')}"
    assert attempt(items)[:3] == (status, "redirect", told)
    assert elsewhere.connections == 0


@pytest.mark.parametrize("behaviour, error_class", [
    (close(), "reset"),
    (reset(), "reset"),
    (raw(b"HTTP/1.1 200"), "reset"),
    (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol"),
    (raw(b"HTTP/1.1 9999 X\r\n\r\n"), "protocol"),
    (raw(b"HTTP/1.1 200 X\r\n" + b"X-Long: y\r\n" * 10_000 + b"\r\n"), "protocol"),
])
def test_broken_answers_are_failures(items, receiver, behaviour, error_class):
    receiver.on("/", behaviour)
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items)
    items.wait_for_status(1, "retrying")
    assert attempt(items)[:2] == (0, error_class)


def test_nobody_listens(items, receiver):
    receiver.down()
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items)
    items.wait_for_status(1, "retrying")
    status, error_class, error, body = attempt(items)
    assert (status, error_class, body) == (0, "connect", None)
    assert "refused" in error


@pytest.mark.parametrize("behaviour", [
    hang(),
    drip(head(200, {"content-length": 100}) + b"x" * 100),
    raw(b"HTTP/1.1 200 X\r\n", keep=True),
    endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
], ids=["hang", "drip head", "no end of head", "informational answers without end"])
def test_an_attempt_ends_at_its_timeout(items, receiver, behaviour):
    receiver.on("/", behaviour)
    items.create("hook", receiver.url("/"), table_name="items", timeout_seconds=2, **LATER)
    insert(items)
    items.wait_for_status(1, "retrying")
    status, error_class, error, _ = attempt(items)
    assert (status, error_class, error) == (
        0, "timeout", "no answer within 2 s: waiting for the head of the answer",
    )
    assert 1.9 < items.value("SELECT latency_ms FROM webhook.attempts") / 1000 < 2 + LATE


@pytest.mark.parametrize("behaviour", [
    raw(head(200, {"content-length": 100}) + b"half", keep=True),
    raw(head(200, {"content-length": 10**6}), keep=True),
    drip(b"x" * 100, interval=0.3, first=head(200, {"content-length": 100})),
    endless(head(200, {"content-length": 10**12}), b"x" * 65536),
    endless(head(200, {"transfer-encoding": "chunked"}), b"1000\r\n" + b"y" * 0x1000 + b"\r\n"),
    raw(head(200, {"content-length": 100}) + b"half"),
], ids=["body stops", "body never begins", "body drips", "endless body", "endless chunks", "body breaks off"])
def test_a_complete_head_decides_whatever_the_body_does(items, receiver, behaviour):
    receiver.on("/", behaviour)
    items.create("hook", receiver.url("/"), table_name="items", timeout_seconds=2, **LATER)
    insert(items)
    items.wait_for_status(1)
    assert items.value("SELECT latency_ms FROM webhook.attempts") / 1000 < 2 + LATE


def test_a_receiver_that_reads_slowly_ends_at_the_timeout(items, make_receiver):
    receiver = make_receiver(bytes_per_second=100)
    items.create("hook", receiver.url("/"), table_name="items", timeout_seconds=2, **LATER)
    items.run("SET pg_webhook.max_payload_bytes = '32MB'")
    items.run("INSERT INTO items VALUES (1, repeat('x', 20000000))")
    items.wait_for_status(1, "retrying")
    assert attempt(items)[1] == "timeout"
    assert items.value("SELECT latency_ms FROM webhook.attempts") / 1000 < 2 + LATE


@pytest.mark.alone
def test_retries_back_off_with_jitter_and_then_deliver(items, receiver):
    receiver.on("/", reply(500), reply(503), reply(200))
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    insert(items)
    requests = receiver.wait(3, timeout=20)
    items.wait_for_status(1)
    first, second, third = (r.time for r in requests)
    assert 0.8 <= second - first < 1.2 + 0.5
    assert 1.6 <= third - second < 2.4 + 0.5
    assert {r.id for r in requests} == {requests[0].id}
    assert {r.body for r in requests} == {requests[0].body}
    assert [r.headers["webhook-attempt"] for r in requests] == ["1", "2", "3"]
    timestamps = [int(r.headers["webhook-timestamp"]) for r in requests]
    assert timestamps == sorted(timestamps) and timestamps[0] < timestamps[2]
    # Two of them can be of the same second.
    assert len({r.headers["webhook-signature"] for r in requests}) == len(set(timestamps))
    verdicts = items.rows("SELECT attempt, status_code FROM webhook.attempts ORDER BY attempt")
    assert verdicts == [(1, 500), (2, 503), (3, 200)]
    assert items.rows("SELECT status, attempts, status_code FROM webhook.deliveries") == [
        ("delivered", 3, 200)
    ]


def test_used_up_retries_are_a_dead_letter_that_can_be_replayed(items, receiver):
    receiver.on("/", reply(500), reply(500), reply(200))
    items.create(
        "hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1, max_retries=1,
    )
    insert(items)
    items.wait_for_status(1, "dead")
    [(status, attempts, next_at, delivered_at)] = items.rows(
        "SELECT status, attempts, next_attempt_at, delivered_at FROM webhook.deliveries"
    )
    assert (attempts, next_at, delivered_at) == (2, None, None)
    assert items.value("SELECT pending FROM webhook.webhooks") == 0
    items.run("SELECT webhook_replay(id) FROM webhook.deliveries WHERE status = 'dead'")
    items.wait_for_status(1)
    assert len({(r.id, r.body) for r in receiver.wait(3)}) == 1
    assert items.statuses() == {"dead": 1, "delivered": 1}


def test_retry_for_ends_it_too(items, receiver):
    receiver.default(reply(500))
    items.create(
        "hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1, retry_for="2 seconds",
    )
    insert(items)
    items.wait_for_status(1, "dead")
    assert items.value("SELECT attempts FROM webhook.deliveries") == 2


def retry_after(seconds=None):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds or 0)
    return email.utils.format_datetime(at, usegmt=True)


@pytest.mark.parametrize("value, least, most", [
    ("0", 4, 6), ("-1", 4, 6), ("NaN", 4, 6), ("1e12", 4, 6), ("", 4, 6),
    ("120", 119, 121),
    ("1000000000000", 35_999, 36_001),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 4, 6),
    ("Tue, 31 Dec 2999 00:00:00 GMT", 35_999, 36_001),
    pytest.param(retry_after, 298, 301, id="a date"),
], ids=str)
def test_retry_after_is_honoured_within_bounds(items, receiver, value, least, most):
    text = value(300) if callable(value) else value
    receiver.on("/", reply(503, headers={"retry-after": text}))
    items.create("hook", receiver.url("/"), table_name="items")
    insert(items)
    items.wait_for_status(1, "retrying")
    waits = items.value(
        "SELECT extract(epoch FROM next_attempt_at - started_at)::float FROM webhook.deliveries"
        " JOIN webhook.attempts ON delivery_id = id"
    )
    assert least <= waits <= most + 0.5


@pytest.mark.parametrize("behaviour", [reply(429), after(2, reply(200))], ids=["429", "timeout"])
def test_an_overloaded_receiver_gets_a_minute(items, receiver, behaviour):
    receiver.on("/", behaviour)
    items.create("hook", receiver.url("/"), table_name="items", timeout_seconds=1)
    insert(items)
    items.wait_for_status(1, "retrying")
    assert items.value("SELECT next_attempt_at - now() > '55 seconds' FROM webhook.deliveries")


def test_410_pauses_the_webhook_and_keeps_all_events(items, receiver):
    receiver.on("/", reply(410))
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1, max_retries=0)
    insert(items)
    wait_until(lambda: items.value("SELECT health FROM webhook.webhooks") == "paused", "the pause")
    assert items.value("SELECT enabled FROM webhook.webhooks")
    reason = items.value("SELECT health_reason FROM webhook.webhooks")
    assert "410" in reason and "until it is resumed" in reason
    insert(items)
    wait_until(lambda: items.value("SELECT pending FROM webhook.webhooks") == 2, "both to wait")
    receiver.on("/", reply(200))
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(2)
    assert items.statuses() == {"delivered": 2}
    assert sorted(r.headers["webhook-attempt"] for r in receiver.got()) == ["1", "1", "2"]
    assert items.rows("SELECT health, health_reason FROM webhook.webhooks") == [("healthy", None)]


def test_pause_keeps_and_resume_sends_in_order(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=1)
    items.run("SELECT webhook_pause('hook')")
    for _ in range(5):
        insert(items)
    wait_until(
        lambda: items.value("SELECT pending FROM webhook.webhooks") == 5, "five events to wait",
    )
    assert items.value("SELECT health FROM webhook.webhooks") == "paused"
    assert receiver.got() == []
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(5)
    assert [json.loads(r.body)["record"]["id"] for r in receiver.got()] == [1, 2, 3, 4, 5]


def test_settings_change_between_attempts(items, receiver):
    receiver.on("/old", reply(500))
    items.create(
        "hook", receiver.url("/old"), table_name="items", secret="a secret of plain words",
        signature="sha256", retry_backoff_seconds=1,
    )
    insert(items)
    receiver.wait(1, "/old")
    items.run(
        "SELECT webhook_update('hook', url => %s, headers => '{\"X-New\": \"yes\"}',"
        " secret => 'another secret, also plain')", receiver.url("/new"),
    )
    [request] = receiver.wait(1, "/new")
    old = receiver.got("/old")[0]
    assert request.headers["x-new"] == "yes"
    assert (request.id, request.body) == (old.id, old.body)
    assert request.headers["x-webhook-signature"] != old.headers["x-webhook-signature"]


def test_fail_count_and_health(items, receiver):
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)

    def health():
        return items.rows(
            "SELECT health, fail_count, last_error, last_success_at IS NULL, last_failure_at IS NULL"
            " FROM webhook.webhooks"
        )[0]

    assert health() == ("healthy", 0, None, True, True)
    insert(items)
    error = "http_status: status 500"
    wait_until(lambda: health() == ("failing", 1, error, True, False), "one failure")
    insert(items)
    wait_until(lambda: health() == ("failing", 2, error, True, False), "two failures")
    receiver.default(reply(200))
    insert(items)
    wait_until(lambda: health() == ("healthy", 0, error, False, False), "a success")


def test_a_broken_endpoint_is_probed_with_one_request_at_a_time(items, receiver):
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=2)
    insert(items, 200)
    wait_until(lambda: items.value("SELECT fail_count FROM webhook.webhooks") >= 5, "an open breaker")
    # What was under way when it opened; the others are not attempted.
    wait_until(lambda: items.value("SELECT in_flight FROM webhook.worker") == 0, "nothing in flight")
    tried = len(receiver.got())
    assert tried <= 5 + 10
    receiver.wait(tried + 2)
    probes = [r.time for r in receiver.got()[tried:tried + 2]]
    assert probes[1] - probes[0] > 1.5
    receiver.default(reply(200))
    items.wait_for_status(200)
    untouched = items.value("SELECT count(*) FROM webhook.deliveries WHERE attempts = 1")
    assert untouched >= 200 - tried - 4


def test_an_endpoint_that_refuses_events_gets_the_next_one_at_once(items, receiver):
    receiver.default(checked(lambda request: b"welcome" in request.body, otherwise=422))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items, 100)
    wait_until(lambda: len(receiver.got()) == 100, "an attempt of each")
    items.run("INSERT INTO items VALUES (1000, 'welcome')")
    inserted = time.time()
    items.wait_for_status(1)
    assert receiver.wait(101)[-1].time - inserted < 2


@pytest.mark.alone
def test_a_dead_endpoint_does_not_delay_another(items, receiver, make_receiver):
    dead = make_receiver()
    dead.default(hang())
    items.create("dead", dead.url("/"), table_name="items", timeout_seconds=5)
    items.create("alive", receiver.url("/"), table_name="items")
    for _ in range(50):
        insert(items, 20)
    requests = receiver.wait(1000, timeout=20)
    lags = sorted(
        r.time - datetime.datetime.fromisoformat(json.loads(r.body)["timestamp"]).timestamp()
        for r in requests
    )
    assert lags[len(lags) // 2] < 1
    items.wait_for_status(1000, webhook="alive")


def test_connections_are_reused(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=1)
    for count in range(20):
        insert(items)
        receiver.wait(count + 1)
    items.wait_for_status(20)
    assert receiver.connections == 1


def test_a_connection_that_the_receiver_closed_is_not_used_again(items, receiver):
    receiver.default(reply(200, close=True))
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=1, **LATER)
    for count in range(10):
        insert(items)
        items.wait_for_status(count + 1)
        receiver.wait_closed()
    assert receiver.connections == 10
    assert items.value("SELECT count(*) FROM webhook.attempts") == 10


def test_answers_that_cannot_be_stored_as_they_are(items, receiver):
    receiver.on(
        "/", reply(200, b"nul \0, latin \xe9, surrogate \xed\xa0\x80"), reply(200, b"x" * 100_000),
        reply(200, b"a" + "\u00e9".encode() * 4000),
    )
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=1)
    insert(items, 3)
    items.wait_for_status(3)
    bodies = items.rows("SELECT response_body FROM webhook.deliveries ORDER BY id")
    assert bodies[0][0].startswith("nul \ufffd, latin \ufffd, surrogate \ufffd")
    assert bodies[1][0] == "x" * 4096
    assert bodies[2][0] == "a" + "\u00e9" * 2047
    assert len(receiver.got()) == 3


def test_a_name_that_resolves_to_several_addresses_uses_one_that_answers(items, receiver):
    # localhost is ::1 and 127.0.0.1; the receiver listens on the second only
    items.create("hook", receiver.url("/").replace("127.0.0.1", "localhost"), table_name="items")
    insert(items)
    items.wait_for_status(1)
    assert receiver.got()[0].headers["host"] == f"localhost:{receiver.port}"


def test_events_of_a_deleted_webhook_are_cancelled_and_stay_in_the_log(items, receiver):
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items)
    items.wait_for_status(1, "retrying")
    items.run("SELECT webhook_pause('hook')")
    insert(items, 3)
    items.run("SELECT webhook_delete('hook')")
    assert items.statuses() == {"cancelled": 4}
    assert items.rows("SELECT DISTINCT webhook FROM webhook.deliveries") == [("hook",)]
    insert(items)
    assert items.statuses() == {"cancelled": 4}
    before = len(receiver.got())
    items.create("hook", receiver.url("/again"), table_name="items")
    receiver.on("/again", reply(200))
    insert(items)
    items.wait_for_status(1)
    assert [r.path for r in receiver.got()[before:]] == ["/again"]


def test_the_kill_switch_stops_sending_and_keeps_events(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items")
    server.reload(pg_webhook__enabled="off")
    wait_until(lambda: db.value("SHOW pg_webhook.enabled") == "off", "the reload")
    insert(db, 10)
    sent = len(receiver.got())
    server.reload(pg_webhook__enabled="on")
    db.wait_for_status(10)
    assert sent <= 10 and len(receiver.got()) == 10


@pytest.fixture
def eight_places(own_cluster, make_db):
    """A database with two tables, of a server with eight places."""
    db = make_db(own_cluster(pg_webhook__max_concurrency="8"))
    db.run("CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE others (id int PRIMARY KEY)")
    return db


def silent_endpoints(db, make_receiver, count):
    """Webhooks on the table `others` whose receiver never answers, with 20 events each; the receiver."""
    silent = make_receiver()
    silent.default(hang())
    for number in range(count):
        db.create(f"silent{number}", silent.url(f"/{number}"), table_name="others", timeout_seconds=120)
    db.run("INSERT INTO others SELECT generate_series(1, 20)")
    return silent


def test_endpoints_that_hang_leave_places_to_others(eight_places, receiver, make_receiver):
    db = eight_places
    db.create("healthy", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (0)")
    db.wait_for_status(1)
    silent = silent_endpoints(db, make_receiver, 10)
    silent.wait(6)
    db.run("INSERT INTO items SELECT generate_series(1, 300)")
    db.wait_for_status(301)
    assert len(silent.got()) == 6, "three quarters of the places, for endpoints that nothing is known of"


def test_endpoints_that_hang_leave_places_to_those_that_take_their_time(eight_places, receiver, make_receiver):
    """None of whose answers is a fast one, the first included."""
    db = eight_places
    receiver.default(after(0.15, reply(200)))
    db.create("distant", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (0)")
    db.wait_for_status(1)
    silent = silent_endpoints(db, make_receiver, 10)
    silent.wait(6)
    db.run("INSERT INTO items SELECT generate_series(1, 20)")
    db.wait_for_status(21)
    assert len(silent.got()) == 6


def test_endpoints_that_hang_leave_places_to_new_ones(eight_places, receiver, make_receiver):
    db = eight_places
    silent = silent_endpoints(db, make_receiver, 4)
    silent.wait(4)
    # By now each of them asks for a second place.
    time.sleep(1.5)
    db.create("new", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    assert len(silent.got()) == 4, "half of the places"


def test_fast_endpoints_that_stop_at_once_hold_what_they_may_have_and_no_more(db, receiver, make_receiver):
    """Nine of them leave ten of a hundred places, a tenth none, until its requests run into their time limit."""
    silent = make_receiver()
    db.run("CREATE TABLE items (id bigserial); CREATE TABLE nine (id bigserial); CREATE TABLE tenth (id bigserial)")
    db.create("healthy", receiver.url("/"), table_name="items")
    for number in range(9):
        db.create(f"silent{number}", silent.url(f"/{number}"), table_name="nine", timeout_seconds=300)
    db.create("tenth", silent.url("/tenth"), table_name="tenth", timeout_seconds=2)

    def send(table, count=1):
        db.run(f"INSERT INTO {table} SELECT FROM generate_series(1, %s)", count)

    def are_fast():
        send("items"), send("nine"), send("tenth")
        db.settled()
        took = db.rows("SELECT latency_ms FROM webhook.attempts ORDER BY started_at DESC LIMIT 33")
        return all(latency < 90 for (latency,) in took)

    wait_until(are_fast, "endpoints that are fast")
    silent.default(hang())
    send("nine", 30)
    wait_until(lambda: silent.under_way == 90, lambda: f"90 requests, not {silent.under_way}")
    before = len(receiver.got())
    send("items", 100)
    receiver.wait(before + 100)
    assert silent.under_way == silent.most_under_way == 90
    send("tenth", 30)
    wait_until(lambda: silent.most_under_way == 100, lambda: f"100 requests, not {silent.most_under_way}")
    send("items", 100)
    receiver.wait(before + 200)
    wait_until(lambda: silent.under_way < 100, "the tenth one's requests to have ended")
