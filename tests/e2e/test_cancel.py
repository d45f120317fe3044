"""webhook_cancel: what waits is not sent, wherever it waits, and the status tells the truth."""

import json
import pathlib
import threading

import psycopg
import pytest

from harness import wait_until
from harness.receiver import once, reply

LATER = {"retry_backoff_seconds": 3600}
CANCEL = "SELECT webhook_cancel(%s)"


@pytest.fixture
def items(db):
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    return db


def delivery(db, item):
    """The id of the delivery of one row."""
    return db.value("SELECT id FROM webhook.deliveries WHERE payload::jsonb->'record'->>'id' = %s", str(item))


def sent(receiver):
    """The rows that the receiver has heard of, each as often as it has."""
    return sorted(json.loads(request.body)["record"]["id"] for request in receiver.got())


def settled(db):
    """Wait until the worker has done what there is to do about cancelled deliveries."""
    wait_until(
        lambda: db.value("SELECT count(*) FROM webhook.closed WHERE NOT settled") == 0, "the worker to settle"
    )


def test_one_that_waits_for_a_retry(items, receiver):
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=2)
    items.run("INSERT INTO items VALUES (1), (2)")
    items.wait_for_status(2, "retrying")
    one = delivery(items, 1)
    assert items.value(CANCEL, one) is True
    receiver.default(reply(200))
    [(status, attempts, due)] = items.rows(
        "SELECT status, attempts, next_attempt_at FROM webhook.deliveries WHERE id = %s", one
    )
    assert (status, attempts, due) == ("cancelled", 1, None)
    assert items.value("SELECT pending FROM webhook.webhooks") == 1
    items.wait_for_status(1)
    settled(items)
    assert sent(receiver) == [1, 2, 2]
    assert items.value(CANCEL, one) is False
    assert items.value(CANCEL, delivery(items, 2)) is False
    assert items.statuses() == {"cancelled": 1, "delivered": 1}


def test_one_that_was_never_tried(items, receiver):
    """In the backlog of a paused webhook; a rollback undoes it."""
    items.create("hook", receiver.url("/"), table_name="items")
    items.run("SELECT webhook_pause('hook')")
    items.run("INSERT INTO items SELECT generate_series(1, 5)")
    wait_until(lambda: items.value("SELECT count(*) FROM webhook.pending") == 5, "the backlog")
    for item in (2, 4):
        assert items.value(CANCEL, delivery(items, item)) is True
    with pytest.raises(ZeroDivisionError), items.connection.transaction():
        assert items.value(CANCEL, delivery(items, 5)) is True
        raise ZeroDivisionError
    assert items.statuses() == {"pending": 3, "cancelled": 2}
    assert items.value("SELECT pending FROM webhook.webhooks") == 3
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(3)
    settled(items)
    assert sent(receiver) == [1, 3, 5]


def test_in_the_transaction_of_the_change(items, receiver):
    """The event has not even been committed."""
    items.create("hook", receiver.url("/"), table_name="items")
    with items.connection.transaction():
        items.run("INSERT INTO items VALUES (1), (2)")
        assert items.value(CANCEL, delivery(items, 1)) is True
    items.wait_for_status(1)
    settled(items)
    assert items.statuses() == {"cancelled": 1, "delivered": 1}
    assert sent(receiver) == [2]


def test_in_a_prepared_transaction(items, receiver):
    """Its commit tells the worker nothing, but what the worker reads is up to date."""
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=2)
    items.run("INSERT INTO items VALUES (1)")
    items.wait_for_status(1, "retrying")
    receiver.default(reply(200))
    items.run("BEGIN")
    items.run("INSERT INTO items VALUES (2), (3)")
    for item in (1, 2):
        assert items.value(CANCEL, delivery(items, item)) is True
    items.run("PREPARE TRANSACTION 'cancelling'")
    items.run("COMMIT PREPARED 'cancelling'")
    items.wait_for_status(1)
    settled(items)
    assert items.statuses() == {"delivered": 1, "cancelled": 2}
    assert sent(receiver) == [1, 3]


def test_one_that_the_worker_has_in_its_memory(items, receiver):
    """It waits for its turn behind a request that hangs: it is taken back. One that is under way ends."""
    receiver.hold()
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=1, **LATER)
    items.run("INSERT INTO items SELECT generate_series(1, 4)")
    [first] = receiver.wait(1)
    items.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE payload::jsonb->'record'->>'id' IN ('1', '3')")
    assert items.statuses() == {"pending": 2, "cancelled": 2}
    # Otherwise it may be sent before the worker has looked.
    wait_until(lambda: items.value("SELECT count(*) FROM webhook.pending") == 1, "the worker to take it back")
    receiver.release()
    items.wait_for_status(3)
    settled(items)
    assert sent(receiver) == [1, 2, 4]
    assert items.statuses() == {"delivered": 3, "cancelled": 1}


def test_one_in_memory_where_settling_fails(items, receiver):
    """It has left the memory by then, so it must be on its way to the backlog: the cursor waits for it."""
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=1, **LATER)
    items.run("INSERT INTO items VALUES (1)")
    items.wait_for_status(1, "retrying")
    receiver.default(reply(200))
    receiver.hold()
    items.run("INSERT INTO items SELECT generate_series(2, 4)")
    receiver.wait(2)
    with items.connect(user="postgres") as session, session.transaction():
        session.execute("SELECT FROM webhook.pending FOR UPDATE")
        items.run(
            "SELECT webhook_cancel(id) FROM webhook.deliveries WHERE payload::jsonb->'record'->>'id' IN ('1', '3', '4')"
        )
        wait_until(lambda: items.value("SELECT last_error FROM webhook.worker"), "the worker to give up once")
    settled(items)
    receiver.release()
    items.wait_for_status(1)
    assert sent(receiver) == [1, 2]
    assert items.statuses() == {"delivered": 1, "cancelled": 3}
    wait_until(lambda: not items.value("SELECT last_error FROM webhook.worker"), "the worker to go on")


def test_one_under_way_that_fails(items, receiver):
    """There is no other attempt, and the log knows of the one that was made."""
    receiver.default(reply(500))
    receiver.hold()
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    items.run("INSERT INTO items VALUES (1)")
    receiver.wait(1)
    one = delivery(items, 1)
    assert items.value(CANCEL, one) is True
    receiver.release()
    wait_until(lambda: items.value("SELECT attempts FROM webhook.deliveries") == 1, "the attempt")
    settled(items)
    receiver.default(reply(200))
    # The breaker is closed and the lane is empty: the next event goes out, this one does not.
    items.run("SELECT pg_sleep(2.5)")
    items.run("INSERT INTO items VALUES (2)")
    items.wait_for_status(1)
    assert sent(receiver) == [1, 2]
    assert items.rows("SELECT status, status_code FROM webhook.deliveries WHERE id = %s", one) == [("cancelled", 500)]


def test_a_retry_under_way_that_fails(items, receiver):
    """As above, of an event of the backlog."""
    cancelled = threading.Event()
    receiver.on("/", reply(500), once(cancelled, reply(500)))
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    items.run("INSERT INTO items VALUES (1)")
    receiver.wait(2)
    assert items.value(CANCEL, delivery(items, 1)) is True
    cancelled.set()
    wait_until(lambda: items.value("SELECT attempts FROM webhook.deliveries") == 2, "the attempt")
    settled(items)
    items.run("SELECT pg_sleep(3)")
    assert items.statuses() == {"cancelled": 1}
    assert len(receiver.got()) == 2


def test_dead_letters(items, receiver):
    """A dead letter waits for somebody: cancelled, it waits no more."""
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", max_retries=0)
    items.run("INSERT INTO items VALUES (1), (2), (3)")
    items.wait_for_status(3, "dead")
    one, two, three = (delivery(items, item) for item in (1, 2, 3))
    letters = lambda: {row[0] for row in items.rows("SELECT id FROM webhook.dead_letters")}
    assert letters() == {one, two, three}
    failed = lambda: items.value("SELECT failed FROM webhook.stats")
    assert failed() == 3
    stars = "SELECT d FROM webhook.{} AS d WHERE status = 'dead' ORDER BY id"
    assert items.rows(stars.format("dead_letters")) == items.rows(stars.format("deliveries"))
    assert items.value(CANCEL, one) is True
    assert items.value(CANCEL, one) is False
    assert letters() == {two, three}
    receiver.default(reply(200))
    items.run("SELECT webhook_replay(%s)", two)
    assert letters() == {three}
    assert items.value(CANCEL, two) is False
    assert items.job("webhook_replay_all('hook')") == 1
    assert items.job("webhook_replay_all('hook')") == 0
    assert letters() == set()
    items.wait_for_status(2)
    assert items.statuses() == {"dead": 2, "cancelled": 1, "delivered": 2}
    assert failed() == 0, "what waits for somebody"
    # A cancelled one can be sent after all.
    items.run("SELECT webhook_replay(%s)", one)
    items.wait_for_status(3)
    assert sent(receiver) == [1, 1, 2, 2, 3, 3]


def test_many_large_dead_letters(items, receiver):
    """More bytes than are written anew in one transaction."""
    receiver.default(reply(422))
    items.run("CREATE TABLE large (id int, note text)")
    items.create("hook", receiver.url("/"), table_name="large", max_retries=0)
    items.run("INSERT INTO large SELECT i, repeat('x', 1000000) FROM generate_series(1, 40) AS i")
    items.wait_for_status(40, "dead")
    assert items.value("SELECT count(*) FROM webhook.dead_letters WHERE webhook_cancel(id)") == 40
    settled(items)
    assert items.value("SELECT count(*) FROM webhook_log(status => 'cancelled')") == 40
    assert items.statuses() == {"cancelled": 40}


def test_what_cannot_be_cancelled(items, receiver, cluster):
    items.create("hook", receiver.url("/"), table_name="items")
    items.run("INSERT INTO items VALUES (1)")
    items.wait_for_status(1)
    one = delivery(items, 1)
    assert items.value(CANCEL, one) is False
    items.run("SELECT webhook_test('hook')")
    test = items.value("SELECT id FROM webhook.deliveries WHERE event_type = 'TEST'")
    assert items.value(CANCEL, test) is False
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is a test"):
        items.run("SELECT webhook_replay(%s)", test)
    assert items.job("webhook_replay_all('hook', status => 'delivered')") == 1
    role = f"{items.name}_bob"
    items.run(f"CREATE ROLE {role} LOGIN")
    items.run("SELECT webhook_grant(%s, 'member')", role)
    with cluster.connect(items.name, user=role) as connection:
        for number in (one, 0, -1, 2**62):
            with pytest.raises(psycopg.errors.UndefinedObject):
                connection.execute(CANCEL, [number])
    items.run(f"DROP OWNED BY {role}; DROP ROLE {role}")
    receiver.default(reply(500))
    items.run("INSERT INTO items VALUES (2)")
    items.wait_for_status(1, "retrying")
    two = delivery(items, 2)
    items.run("SELECT webhook_delete('hook')")
    assert items.value(CANCEL, two) is False


def test_an_open_transaction_stops_nobody(items, receiver, make_receiver):
    """What is cancelled in a transaction that stays open is attempted, and so is everything else."""
    receiver.default(reply(500))
    other = make_receiver()
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    items.create("other", other.url("/"), table_name="items")
    items.run("INSERT INTO items VALUES (1)")
    items.wait_for_status(1, "retrying")
    one = items.value("SELECT id FROM webhook.deliveries WHERE webhook = 'hook'")
    with items.connect() as connection, connection.transaction():
        connection.execute(CANCEL, [one])
        attempts = len(receiver.got())
        receiver.wait(attempts + 1)
        items.run("INSERT INTO items SELECT generate_series(2, 10)")
        # Were the worker to wait for the session, it would give up after two seconds, and say so.
        items.wait_for_status(10, webhook="other")
    attempts = len(receiver.got())
    settled(items)
    items.run("SELECT pg_sleep(2)")
    [(status,)] = items.rows("SELECT status FROM webhook.deliveries WHERE id = %s", one)
    assert status == "cancelled"
    assert items.value("SELECT last_error FROM webhook.worker") is None


def test_a_crash_between_cancelling_and_settling(own_cluster, make_db, receiver):
    """The ring has not been read: nothing but the cancellation says that this is not to be sent."""
    server = own_cluster()
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    server.reload(pg_webhook__enabled="off")
    wait_until(lambda: db.value("SHOW pg_webhook.enabled") == "off", "the reload")
    db.run("INSERT INTO items SELECT generate_series(1, 4)")
    db.run("SELECT pg_sleep(0.5)")
    for item in (1, 3):
        assert db.value(CANCEL, delivery(db, item)) is True
    assert db.statuses() == {"pending": 2, "cancelled": 2}
    db.close()
    server.crash()
    server.configure(pg_webhook__enabled="on")
    server.start()
    db.connection = server.connect(db.name)
    db.wait_for_status(2)
    settled(db)
    assert sent(receiver) == [2, 4]
    assert db.statuses() == {"delivered": 2, "cancelled": 2}


def test_many(items, receiver):
    """Thousands at once, in every state, and the others are sent."""
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    items.run("INSERT INTO items SELECT generate_series(1, 12000)")
    wait_until(lambda: items.value("SELECT count(*) FROM webhook.pending") == 12000, "the backlog")
    cancelled = items.value(
        "SELECT count(*) FILTER (WHERE webhook_cancel(id)) FROM webhook.deliveries"
        " WHERE (payload::jsonb->'record'->>'id')::int <= 11900"
    )
    assert cancelled == 11900
    heard = len(receiver.got())
    receiver.default(reply(200))
    settled(items)
    items.run("SELECT webhook_replay(id) FROM webhook.deliveries WHERE status IN ('pending', 'retrying')")
    statuses = items.statuses()
    assert statuses.pop("cancelled") == 11900
    assert sum(statuses.values()) == 200
    assert items.value("SELECT count(*) FROM webhook.pending WHERE next_at < 'infinity'") <= 200
    later = receiver.got()[heard:]
    assert all(json.loads(r.body)["record"]["id"] > 11900 for r in later)


def test_one_in_memory_before_many_that_are_cancelled(items, receiver):
    """One that waits behind a large body does not wait for thousands that were cancelled, read or unread."""
    items.run("ALTER TABLE items ADD body text")
    items.run("CREATE TABLE wide (LIKE items)")
    items.run("CREATE TABLE others (LIKE items)")
    # No request ends while the receiver holds them, however long it takes to cancel.
    long = {"timeout_seconds": 120}
    items.create("narrow", receiver.url("/"), table_name="items", max_concurrency=1, **long)
    items.create("wide", receiver.url("/"), table_name="wide", **long)
    items.create("others", receiver.url("/"), table_name="others", **long)
    items.run("SET pg_webhook.max_payload_bytes = '16MB'")
    receiver.hold()
    with items.connect() as connection, connection.transaction():
        connection.execute("INSERT INTO others SELECT generate_series(11, 6010)")
        large = "SELECT n, repeat('x', 9000000) FROM generate_series(%s::int, %s) AS n"
        with items.connection.transaction():
            items.run(f"INSERT INTO items {large}", 1, 2)
            items.run(f"INSERT INTO wide {large}", 3, 4)
        # The last of them is under way, so the second has been read.
        receiver.wait(3)
    of = "FROM webhook.deliveries WHERE webhook = %s"
    assert items.value(f"SELECT count(*) FILTER (WHERE webhook_cancel(id)) {of}", "others") == 6000
    second = items.value(f"SELECT max(id) {of}", "narrow")
    assert items.value(CANCEL, second) is True
    spilled = "SELECT count(*) FROM webhook.pending WHERE id = %s"
    wait_until(lambda: items.value(spilled, second) == 1, "it to leave the memory")
    receiver.release()
    settled(items)
    # Ten of the others may have been under way by then.
    statuses = items.statuses()
    assert set(statuses) == {"delivered", "cancelled"} and sum(statuses.values()) == 6004 and statuses["delivered"] <= 13
    assert [number for number in sent(receiver) if number <= 10] == [1, 3, 4]


def test_what_is_closed_is_forgotten_with_the_log(items, receiver):
    """By the worker's own statement; not before the ring forgets the event, which would bring it back."""
    receiver.default(reply(500))
    items.create("hook", receiver.url("/"), table_name="items", max_retries=0)
    items.run("INSERT INTO items VALUES (1), (2), (3)")
    items.wait_for_status(3, "dead")
    items.run("SELECT webhook_cancel(%s), webhook_replay(%s)", delivery(items, 1), delivery(items, 2))
    items.wait_for_status(3, "dead")
    settled(items)
    kept = lambda: items.value("SELECT count(*) FROM webhook.pending")
    file = pathlib.Path(__file__).parents[2] / "sql/query/log/purge.sql"
    items.run("PREPARE purge (double precision, timestamptz) AS " + file.read_text())
    items.run("EXECUTE purge (3600, clock_timestamp())")
    items.run("EXECUTE purge (0, clock_timestamp())")
    assert kept() == 4
    items.run("DELETE FROM webhook.event")
    items.run("EXECUTE purge (3600, clock_timestamp())")
    assert kept() == 4
    items.run("EXECUTE purge (0, clock_timestamp())")
    assert kept() == 2
    assert items.statuses() == {"dead": 2}
    assert items.value("SELECT count(*) FROM webhook.closed") == 0
