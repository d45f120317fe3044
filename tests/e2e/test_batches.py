"""Many events in one request: what goes together, what an answer means for each, and what stays the same."""

import datetime
import json
import time

import pytest
from standardwebhooks import Webhook

from harness import wait_until
from harness.receiver import checked, hang, reply
from harness.verify import verify_python

LATER = {"retry_backoff_seconds": 3600}


@pytest.fixture
def items(db):
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


def insert(db, *ids):
    db.run("INSERT INTO items SELECT unnest(%s::int[])", list(ids))


def batch(request):
    """The rows of a request that is an array of events of the default format."""
    return [event["record"]["id"] for event in json.loads(request.body)]


def event_ids(db):
    return dict(db.rows("SELECT (payload_json -> 'record' ->> 'id')::int, event_id FROM webhook.deliveries"))


def test_what_is_there_goes_in_one_request(items, receiver):
    secret = items.create("hook", receiver.url("/"), table_name="items", batch_size=100)["secret"]
    insert(items, *range(1, 251))
    items.wait_for_status(250)
    requests = receiver.got()
    assert sum((batch(r) for r in requests), []) and sorted(sum((batch(r) for r in requests), [])) == list(range(1, 251))
    assert len(requests) <= 5
    for request in requests:
        assert request.headers["webhook-batch"] == str(len(batch(request)))
        assert request.headers["content-type"] == "application/json"
        assert request.headers["webhook-attempt"] == "1"
        assert request.id.startswith("bat_")
        verify_python(secret, request)
        Webhook(secret).verify(request.body, request.headers)
    known = event_ids(items)
    for request in requests:
        for event in json.loads(request.body):
            assert event["webhook-id"] == event["id"] == known[event["record"]["id"]]
    logged = items.rows("SELECT batch_id, count(*), min(attempt), max(attempt) FROM webhook.attempts GROUP BY 1")
    assert sorted(logged) == sorted((r.id, len(batch(r)), 1, 1) for r in requests)
    assert not items.judge.value("SELECT count(*) FROM webhook.batch")


def test_the_events_of_a_batch_are_in_order(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", batch_size=1000)
    insert(items, *range(1, 301))
    items.wait_for_status(300)
    for request in receiver.got():
        ids = [event["id"].rsplit("_", 1)[1] for event in json.loads(request.body)]
        assert ids == sorted(ids, key=int)


def test_no_request_has_more_bytes_than_it_may(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", batch_size=1000, batch_bytes=3000)
    items.run("INSERT INTO items SELECT i, repeat('x', 700) FROM generate_series(1, 20) AS i")
    items.run("INSERT INTO items VALUES (21, repeat('x', 5000))")
    items.wait_for_status(21)
    sizes = {r.headers["webhook-batch"]: [] for r in receiver.got()}
    for request in receiver.got():
        bodies = [len(json.dumps(event)) for event in json.loads(request.body)]
        assert len(bodies) == 1 or sum(bodies) <= 3000 + 60 * len(bodies)
        sizes[request.headers["webhook-batch"]].append(len(request.body))
    assert max(map(int, sizes)) > 1
    [alone] = [r for r in receiver.got() if 21 in batch(r)]
    assert batch(alone) == [21]


def test_an_event_waits_for_others(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", batch_size=3, batch_wait="2 seconds")
    began = time.monotonic()
    insert(items, 1)
    insert(items, 2)
    receiver.wait(1)
    assert time.monotonic() - began >= 1.9
    assert batch(receiver.got()[0]) == [1, 2]
    began = time.monotonic()
    insert(items, 3, 4, 5)
    receiver.wait(2)
    assert time.monotonic() - began < 1.5, "a full one waits for nothing"
    items.wait_for_status(5)


def test_lines(items, receiver):
    items.run("ALTER TABLE items ADD data json")
    secret = items.create("hook", receiver.url("/"), table_name="items", batch_size=10, batch_format="ndjson",
                          batch_wait="0.3 seconds")["secret"]
    items.run("""INSERT INTO items VALUES (1, E'two\nlines', E'{\n"a":\r\n1}'), (2, 'one', '[]')""")
    items.wait_for_status(2)
    [request] = receiver.got()
    assert request.headers["content-type"] == "application/x-ndjson"
    lines = request.body.decode().splitlines()
    assert len(lines) == 2
    first, second = map(json.loads, lines)
    assert (first["record"]["note"], first["record"]["data"]) == ("two\nlines", {"a": 1})
    assert second["record"]["id"] == 2
    # Its check of a request reads the body as one JSON text.
    at = datetime.datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), datetime.timezone.utc)
    assert Webhook(secret).sign(request.id, at, request.body.decode()) == request.headers["webhook-signature"]


@pytest.mark.parametrize("name", ["truss", "fluxbase", "trst", "trulayer", "hasura", "supabase", "standard", "cloudevents"])
def test_every_format(items, receiver, name):
    secret = items.create("hook", receiver.url("/"), table_name="items", batch_size=10, batch_wait="0.3 seconds",
                          format=name)["secret"]
    insert(items, 1, 2)
    items.wait_for_status(2)
    [request] = receiver.got()
    events, known = json.loads(request.body), event_ids_of(items)
    bodies = [json.loads(body) for (body,) in items.rows("SELECT payload FROM webhook.deliveries ORDER BY id")]
    if name == "cloudevents":
        assert request.headers["content-type"] == "application/cloudevents-batch+json"
        assert events == bodies and [event["id"] for event in events] == known
    else:
        assert [event.pop("webhook-id") for event in events] == known
        assert events == bodies
    call = items.value("SELECT webhook_verify(%s, %s::jsonb, %s)", request.body.decode(), json.dumps(request.headers), secret)
    assert call, "the signature is of the whole body"


def event_ids_of(db):
    return [row[0] for row in db.rows("SELECT event_id FROM webhook.deliveries ORDER BY id")]


def test_what_a_transform_makes_of_it(items, receiver):
    items.run("""CREATE FUNCTION shape(e jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
        $$SELECT CASE e -> 'record' ->> 'id' WHEN '1' THEN '[1, 2]' WHEN '2' THEN 'null' WHEN '3' THEN '{}' ELSE e -> 'record' END$$""")
    items.create("hook", receiver.url("/"), table_name="items", batch_size=10, batch_wait="0.3 seconds", transform="shape(jsonb)")
    insert(items, 1, 2, 3, 4)
    items.wait_for_status(4)
    [request] = receiver.got()
    ids = event_ids_of(items)
    assert json.loads(request.body) == [
        {"webhook-id": ids[0], "body": [1, 2]}, {"webhook-id": ids[1], "body": None}, {"webhook-id": ids[2]},
        {"webhook-id": ids[3], "id": 4, "note": None},
    ]


def test_a_batch_that_fails_is_sent_again_as_it_was(items, receiver):
    receiver.on("/", reply(503), reply(500), reply(200))
    items.create("hook", receiver.url("/"), table_name="items", batch_size=10, retry_backoff_seconds=1)
    insert(items, 1, 2, 3)
    receiver.wait(1)
    insert(items, 4)
    items.wait_for_status(4)
    first, *others = receiver.got()
    again = [r for r in others if r.id == first.id]
    assert batch(first) == [1, 2, 3] and len(again) >= 1
    assert {r.body for r in again} == {first.body}
    attempts = [r.headers["webhook-attempt"] for r in [first, *again]]
    assert attempts == [str(n) for n in range(1, len(attempts) + 1)]
    rows = items.rows("SELECT attempts, status FROM webhook.deliveries WHERE (payload_json -> 'record' ->> 'id')::int < 4")
    assert set(rows) == {(len(attempts), "delivered")}
    assert not items.judge.value("SELECT count(*) FROM webhook.batch")


def refuses(*poison):
    """Answers 422 where one of these is in the request."""
    return checked(lambda request: not set(batch(request)) & set(poison), 200, 422)


def test_what_is_refused_is_found_and_the_others_are_delivered(items, receiver):
    receiver.on("/", refuses(17, 60))
    items.create("hook", receiver.url("/"), table_name="items", batch_size=100, batch_wait="0.5 seconds", max_retries=1,
                 retry_backoff_seconds=1)
    insert(items, *range(1, 101))
    items.wait_for_status(98)
    items.wait_for_status(2, "dead")
    dead = items.rows("SELECT (payload_json -> 'record' ->> 'id')::int, attempts, status_code FROM webhook.dead_letters ORDER BY 1")
    assert dead == [(17, 2, 422), (60, 2, 422)], "only what it was refused for alone counts"
    assert len(receiver.got()) <= 2 * 2 * 7 + 3, "by halves"
    ids = [r.id for r in receiver.got()]
    assert len(set(ids)) >= len(ids) - 2, "each half is a batch of its own"
    delivered = [n for r in receiver.got() if r.answered == 200 for n in batch(r)]
    assert sorted(delivered) == sorted(set(range(1, 101)) - {17, 60}), "once each"
    counted = items.rows("SELECT DISTINCT attempts FROM webhook.deliveries WHERE status = 'delivered'")
    assert counted == [(1,)]
    assert items.judge.value("SELECT count(*) FROM webhook.batch") == 0
    # One of them can be sent again by itself.
    receiver.on("/", reply(200))
    items.run("SELECT webhook_replay(id) FROM webhook.dead_letters WHERE (payload_json -> 'record' ->> 'id')::int = 17")
    items.wait_for_status(99)
    assert batch(receiver.got()[-1]) == [17]


@pytest.mark.parametrize("status", [408, 425, 429, 500])
def test_what_says_nothing_of_the_events_divides_nothing(items, receiver, status):
    receiver.on("/", reply(status))
    items.create("hook", receiver.url("/"), table_name="items", batch_size=10, batch_wait="0.3 seconds", **LATER)
    insert(items, 1, 2)
    items.wait_for_status(2, "retrying")
    assert len(receiver.got()) == 1
    assert len(items.rows("SELECT DISTINCT next_attempt_at FROM webhook.deliveries")) == 1


def test_one_of_a_batch_is_cancelled_before_it_is_tried_again(items, receiver):
    receiver.on("/", reply(500), reply(200))
    items.create("hook", receiver.url("/"), table_name="items", batch_size=10, batch_wait="0.3 seconds", **LATER)
    insert(items, 1, 2, 3)
    items.wait_for_status(3, "retrying")
    items.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE (payload_json -> 'record' ->> 'id')::int = 2")
    items.wait_for_status(1, "cancelled")
    items.judge.run("UPDATE webhook.pending SET next_at = now() WHERE next_at < 'infinity'")
    items.run("SELECT webhook_update('hook', description => 'look again')")
    items.wait_for_status(2)
    first, second = receiver.got()
    assert batch(second) == [1, 3]
    assert second.id != first.id, "it is not the same batch"
    wait_until(lambda: not items.judge.value("SELECT count(*) FROM webhook.batch"), "the batch to be forgotten")


def test_one_that_waits_for_others_is_cancelled(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", batch_size=10, batch_wait="3 seconds")
    insert(items, 1, 2)
    wait_until(lambda: items.value("SELECT count(*) FROM webhook.deliveries") == 2, "both")
    items.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE (payload_json -> 'record' ->> 'id')::int = 1")
    items.wait_for_status(1)
    assert [batch(r) for r in receiver.got()] == [[2]]


def test_a_rate_is_of_events(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", batch_size=1000, rate_limit=20)
    began = time.time()
    insert(items, *range(1, 81))
    items.wait_for_status(80)
    requests = receiver.got()
    assert max(len(batch(r)) for r in requests) <= 20
    assert requests[-1].time - began >= 2.5
    for first in requests:
        within = [len(batch(r)) for r in requests if 0 <= r.time - first.time < 1]
        assert sum(within) <= 40, "one batch more than the limit at most"


def test_after_a_pause_all_goes_together(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", batch_size=100)
    items.run("SELECT webhook_pause('hook')")
    for number in range(1, 11):
        insert(items, number)
    items.wait_for_status(10, "pending")
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(10)
    assert sorted(sum(map(batch, receiver.got()), [])) == list(range(1, 11))
    assert len(receiver.got()) <= 2


def test_a_dead_endpoint_is_probed_with_one_request(items, receiver):
    receiver.down()
    items.create("hook", receiver.url("/"), table_name="items", batch_size=5, max_concurrency=10, retry_backoff_seconds=1)
    insert(items, *range(1, 101))
    wait_until(lambda: items.value("SELECT count(DISTINCT batch_id) FROM webhook.attempts") >= 5, "the breaker to open")
    receiver.up()
    items.wait_for_status(100, timeout=60)
    assert sorted(set(sum(map(batch, receiver.got()), []))) == list(range(1, 101))
    assert items.judge.value("SELECT count(*) FROM webhook.batch") == 0


def test_another_size_counts_from_then_on(items, receiver):
    receiver.on("/", hang())
    items.create("hook", receiver.url("/"), table_name="items", batch_size=10, max_concurrency=1, timeout_seconds=2,
                 retry_backoff_seconds=1)
    insert(items, 1)
    receiver.wait(1)
    insert(items, 2, 3, 4)
    receiver.on("/", reply(200))
    items.run("SELECT webhook_update('hook', batch_size => 1)")
    items.wait_for_status(3)
    single = [r for r in receiver.got() if "webhook-batch" not in r.headers]
    assert {json.loads(r.body)["record"]["id"] for r in single} >= {2, 3, 4}
    assert all(r.id.startswith("evt_") for r in single)


def test_a_test_and_a_preview_are_batches_of_one(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items", batch_size=10, format="standard")
    assert items.value("SELECT status_code FROM webhook_test('hook', '{\"a\": 1}')") == 200
    [request] = receiver.got()
    [event] = json.loads(request.body)
    assert (request.headers["webhook-batch"], event["webhook-id"], event["data"]["record"]) == ("1", request.id, {"a": 1})
    headers, body = items.rows("SELECT headers, body FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')")[0]
    assert headers["webhook-batch"] == "1" and json.loads(body)[0]["webhook-id"] == headers["webhook-id"]


def test_many_databases_rows_of_other_webhooks_go_one_by_one(items, receiver, make_receiver):
    other = make_receiver()
    items.create("many", receiver.url("/"), table_name="items", batch_size=50)
    items.create("one", other.url("/"), table_name="items")
    insert(items, *range(1, 101))
    items.wait_for_status(200)
    assert len(other.got()) == 100 and len(receiver.got()) <= 4
    assert all("webhook-batch" not in r.headers for r in other.got())


def test_where_nothing_is_logged(own_cluster, make_db, receiver):
    db = make_db(own_cluster(pg_webhook__log_level="none"))
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items", batch_size=10)
    insert(db, *range(1, 31))
    wait_until(lambda: len(sum(map(batch, receiver.got()), [])) >= 30, "all")
    wait_until(lambda: not db.judge.value("SELECT count(*) FROM webhook.batch"), "nothing to be left")
    assert db.value("SELECT count(*) FROM webhook.attempts") == 0


@pytest.mark.parametrize("setting, value", [
    ("batch_size", 0), ("batch_size", 1001), ("batch_bytes", 0), ("batch_bytes", 4194305), ("batch_wait", "61 seconds"),
    ("batch_wait", "-1 second"), ("batch_format", "csv"),
])
def test_what_it_may_be(items, receiver, setting, value):
    with pytest.raises(Exception) as refused:
        items.create("hook", receiver.url("/"), table_name="items", **{setting: value})
    assert refused.value.sqlstate == "22023" and setting in str(refused.value)
