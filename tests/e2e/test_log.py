"""webhook_log: a page of webhook.deliveries, of any status, for whoever may see it."""

import datetime

import psycopg
import pytest

from harness import wait_until
from harness.receiver import reply
from harness.session import Session

LATER = {"retry_backoff_seconds": 3600}

STATUSES = ("pending", "retrying", "delivered", "dead", "cancelled")

# A json has no equality.
SEEN = "SELECT (d.*)::text FROM {} AS d {} ORDER BY id DESC"


def same(reader, where="", **arguments):
    """What the function says is what the view does."""
    given = ", ".join(f"{name} => %({name})s" for name in arguments)
    page = reader.connection.execute(SEEN.format(f"webhook_log({given})", ""), arguments).fetchall()
    assert page == reader.rows(SEEN.format("webhook.deliveries", where))
    return page


def all_fates(db, receiver):
    """Events of each status, some of a webhook that has been deleted; one has been replayed, one test has failed."""
    for path in ("/good", "/gone"):
        receiver.on(path, reply(200))
    receiver.on("/bad", reply(500, b"no"))
    receiver.on("/dead", reply(500, b"never"))
    for name, more in (("good", {}), ("bad", LATER), ("dead", {"max_retries": 0}), ("gone", {}), ("late", {})):
        db.create(name, receiver.url(f"/{name}"), table_name="items", **more)
    db.run("SELECT webhook_pause('late')")
    db.run("INSERT INTO items SELECT FROM generate_series(1, 3)")
    db.wait_for_status(3, "dead")
    db.wait_for_status(3, "retrying")
    db.wait_for_status(3, webhook="good")
    db.run("SELECT webhook_pause('gone')")
    db.run("INSERT INTO items DEFAULT VALUES")
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.deliveries WHERE status = 'delivered' AND webhook = 'good'") == 4,
               "the fourth")
    db.run("SELECT webhook_replay(min(id)) FROM webhook.deliveries WHERE webhook = 'good'")
    for name in ("bad", "dead", "late"):
        db.run("SELECT webhook_cancel(min(id)) FROM webhook.deliveries WHERE webhook = %s", name)
    assert db.value("SELECT status_code FROM webhook_test('dead')") == 500
    db.run("SELECT webhook_delete('gone')")
    db.wait_for_status(5, webhook="good")
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.deliveries WHERE status = 'cancelled'") == 4, db.statuses)


def test_a_webhook_that_is_deleted_has_no_dead_letters(db, receiver):
    """Nobody can do anything about them."""
    receiver.default(reply(400))
    db.hand_over()
    db.run("CREATE TABLE items (id serial)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=0)
    db.run("INSERT INTO items DEFAULT VALUES")
    db.wait_for_status(1, "dead")
    assert db.value("SELECT count(*) FROM webhook.dead_letters") == 1
    db.run("SELECT webhook_delete('hook')")
    assert db.value("SELECT count(*) FROM webhook.dead_letters") == 0
    assert db.statuses() == {"dead": 1}, "the log says what became of it"


@pytest.mark.parametrize("level", ["'all'", "failures", "none"])
def test_a_page_is_what_the_view_shows(own_cluster, make_db, receiver, level):
    db = make_db(own_cluster(pg_webhook__log_level=level, jit="off")).hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    all_fates(db, receiver)
    db.judge.run("CREATE ROLE one_admin LOGIN; SELECT webhook_grant('one_admin', 'admin')")
    db.judge.run("CREATE ROLE one_viewer LOGIN; SELECT webhook_grant('one_viewer', 'viewer')")
    db.judge.run(f"GRANT {db.owner} TO one_viewer")
    for role in (db.owner, "one_admin", "one_viewer", "postgres"):
        with db.cluster.connect(db.name, user=role) as connection:
            reader = Session(connection)
            assert len(same(reader)) > 18
            for status in STATUSES:
                assert same(reader, f"WHERE status = '{status}'", status=status), status
                for name in ("good", "bad", "dead", "late"):
                    same(reader, f"WHERE status = '{status}' AND webhook = '{name}'", webhook=name, status=status)
            for name in ("good", "bad", "dead", "late"):
                assert same(reader, f"WHERE webhook = '{name}'", webhook=name)


def test_pages_leave_nothing_out(db, receiver):
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    all_fates(db, receiver)
    everything = [row[0] for row in db.rows("SELECT id FROM webhook.deliveries ORDER BY id DESC")]
    pages, before = [], None
    while page := [row[0] for row in db.rows("SELECT id FROM webhook_log(before => %s, lim => 4)", before)]:
        assert len(page) <= 4
        pages += page
        before = page[-1]
    assert pages == everything


def test_since_and_until(db, receiver):
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    for _ in range(5):
        db.run("INSERT INTO items DEFAULT VALUES")
    db.wait_for_status(5)
    made = [row[0] for row in db.rows("SELECT created_at FROM webhook.deliveries ORDER BY id")]
    among = lambda since, until: [row[0] for row in db.rows("SELECT created_at FROM webhook_log(since => %s, until => %s) ORDER BY id", since, until)]
    assert among(made[1], made[3]) == made[1:3], "until is not among them"
    assert among(made[2], None) == made[2:]
    assert among(None, made[2]) == made[:2]
    assert among(None, datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)) == []
    assert db.value("SELECT count(*) FROM webhook_log(since => '-infinity', until => 'infinity')") == 5


def test_one_by_the_id_that_its_receiver_has(db, receiver):
    """Of each status, for its owner; not what repeats it, and not what came from elsewhere under an id like that."""
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    all_fates(db, receiver)
    everything = db.rows("SELECT id, event_id, webhook, status FROM webhook.deliveries")
    repeats = [id for id, event_id, *_ in everything if not event_id.endswith(f"_{id}")]
    assert len(repeats) == 1 and {status for *_, status in everything} == set(STATUSES)
    found = "SELECT id FROM webhook_log(event_id => %s)"
    for id, event_id, webhook, status in everything:
        if id in repeats:
            [(first,)] = db.rows(found, event_id)
            assert first != id and event_id.endswith(f"_{first}")
            assert db.rows(found, event_id.rsplit("_", 1)[0] + f"_{id}") == [], "nobody knows it by that"
            continue
        assert db.rows(found, event_id) == [(id,)]
        assert db.rows("SELECT id FROM webhook_log(event_id => %s, status => %s)", event_id, status) == [(id,)]
        if webhook != "gone":
            other = "good" if webhook != "good" else "bad"
            assert db.rows("SELECT id FROM webhook_log(%s, event_id => %s)", webhook, event_id) == [(id,)]
            assert db.rows("SELECT id FROM webhook_log(%s, event_id => %s)", other, event_id) == []
        assert db.rows("SELECT id FROM webhook_log(event_id => %s, before => %s)", event_id, id) == []
    for strange in ("", "_", "evt_", f"evt__{id}", f"evt_abc_{id}", str(id), f"{event_id}0", "evt_x_99999999999999999999", f"{event_id} "):
        assert db.rows(found, strange) == [], strange


def test_of_others_there_is_nothing(db, people, receiver):
    ann, bob, viewer, stranger = people("ann", "member"), people("bob", "member"), people("vie", "viewer"), people("str")
    ann.run("SELECT webhook_create('hers', %s, events => '{tick}')", receiver.url("/"))
    ann.run("SELECT webhook_emit('tick', '{}')")
    db.wait_for_status(1)
    assert len(ann.rows("SELECT * FROM webhook_log()")) == 1
    uuid = ann.value("SELECT id::text FROM webhook.webhooks")
    event = ann.value("SELECT event_id FROM webhook_log()")
    assert len(ann.rows("SELECT * FROM webhook_log(event_id => %s)", event)) == 1
    for reader in (bob, viewer):
        for status in (None, *STATUSES):
            assert reader.rows("SELECT * FROM webhook_log(status => %s)", status) == []
        assert reader.rows("SELECT * FROM webhook_log(event_id => %s)", event) == []
        for name in ("hers", uuid):
            with pytest.raises(psycopg.errors.UndefinedObject, match="does not exist"):
                reader.run("SELECT * FROM webhook_log(%s)", name)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.run("SELECT * FROM webhook_log()")


@pytest.mark.parametrize("arguments, message", [
    ("lim => 0", "lim must be between 1 and 1000"),
    ("lim => 1001", "lim must be between 1 and 1000"),
    ("status => 'lost'", '"lost" is not a status'),
])
def test_what_is_refused(db, arguments, message):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        db.run(f"SELECT * FROM webhook_log({arguments})")
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        db.run("SELECT * FROM webhook_log(lim => NULL)")


def test_what_waited_for_a_deleted_webhook_is_in_the_log(db, receiver):
    """Also what the worker had not come to, and what was under way."""
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    receiver.default(reply(500))
    db.create("hook", receiver.url("/"), table_name="items", **LATER)
    db.run("INSERT INTO items SELECT FROM generate_series(1, 3)")
    db.run("BEGIN; INSERT INTO items SELECT FROM generate_series(1, 1500); SELECT webhook_delete('hook'); COMMIT")
    wait_until(lambda: db.statuses() == {"cancelled": 1503}, db.statuses)
    assert db.value("SELECT count(*) FROM webhook_log(status => 'cancelled', lim => 1000)") == 1000
    bodies = db.rows("SELECT count(*), count(payload_json->'record'->>'id') FROM webhook.deliveries")
    assert bodies == [(1503, 1503)]


def test_a_dead_letter_of_a_deleted_webhook_stays_one(db, receiver):
    db.hand_over()
    db.run("CREATE FUNCTION fails(jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'")
    db.create("hook", receiver.url("/"), events=["tick"], transform="fails(jsonb)")
    db.run("BEGIN; SELECT webhook_emit('tick', '{}'); SELECT webhook_delete('hook'); COMMIT")
    wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending") == 1, "the worker to come to it")
    assert db.statuses() == {"dead": 1}
    assert receiver.got() == []


MADE = """
    SELECT webhook_backlog_import(m) FROM (
        SELECT w.id AS webhook, (SELECT max(id) FROM webhook.deliveries) + 1000000 + g AS id, '5'::xid8 AS transaction, 'evt_' || g AS event_id,
            'tick' AS event_type, NULL::text AS schema_name, NULL::text AS table_name, '{"n": ' || g || '}' AS payload,
            NULL::text AS failure, now() AS created_at, now() AS next_attempt_at, NULL::timestamptz AS first_attempt_at, 0 AS attempts,
            NULL::smallint AS status_code, NULL::bigint AS duration_us, NULL::text AS error, NULL::text AS response_body, NULL::bigint[] AS keys
        FROM webhook.webhooks AS w, generate_series(1, 20) AS g
    ) AS m
"""


def test_what_came_from_elsewhere_takes_no_place_of_others(db, receiver):
    """It is in the log as long as it waits, and then in that of the attempts alone, for the ring has no event of it."""
    db.create("hook", receiver.url("/"), events=["tick"])
    db.run("SELECT webhook_emit('tick', '{}') FROM generate_series(1, 5)")
    db.wait_for_status(5)
    assert db.rows(MADE) == [(True,)] * 20
    receiver.wait(25)
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.attempts") == 25, "all")
    assert len(same(db)) == 5
    for arguments in ("", "'hook'", "status => 'delivered'"):
        assert db.value(f"SELECT count(*) FROM webhook_log({arguments}{', ' if arguments else ''}lim => 5)") == 5, arguments


@pytest.mark.timeout(600)
def test_each_attempt_names_its_webhook(db, receiver):
    """Of so many that not all are remembered."""
    webhooks = 10_200
    db.run("SELECT webhook_create('hook' || n, %s, events => '{tick}') FROM generate_series(1, %s::int) AS n", receiver.url("/"), webhooks)
    for round in (1, 2):
        db.run("SELECT webhook_emit('tick', '{}')")
        wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.attempt") == round * webhooks, "all to be answered", timeout=200)
    assert db.judge.value("SELECT count(DISTINCT webhook_id) FROM webhook.attempt") == webhooks
    assert db.judge.value("SELECT count(*) FROM webhook.attempt WHERE webhook_id IS NULL") == 0
