"""A receiver of Sequin's webhook sink, and the move from it as docs/migrating/sequin.md has it."""

import hmac
import json

import pytest

from harness import pages, wait_until
from harness.handover import each_once, writing
from harness.pgoutput import Slot
from harness.receiver import checked

PAGE = pages.sql_of("migrating/sequin.md")
ROW = {"id": 1, "customer": "Ada", "total": 42}
TOKEN = "Bearer the token that the receiver knows"


def verified(request):
    """The check that such a receiver makes: the header that the endpoint was given."""
    return hmac.compare_digest(request.headers.get("authorization", ""), TOKEN)


@pytest.fixture
def hook(orders, receiver):
    receiver.default(checked(verified))
    pages.run(orders, PAGE["The body"][0], receiver)
    return orders.create(
        "orders", receiver.url("/"), table_name="orders", transform="as_sequin(jsonb)", signature="none",
        headers=json.dumps({"Authorization": TOKEN}),
    )


def parts(request):
    body = json.loads(request.body)
    assert set(body) == {"record", "changes", "action", "metadata"}
    return body["action"], body["record"], body["changes"]


def test_the_body(orders, hook, row_changes):
    """The documented body for each action: old values only of what an update has changed."""
    requests = row_changes()
    later = {**ROW, "total": 50}
    assert [parts(request) for request in requests] == [
        ("insert", ROW, None), ("update", later, {"total": 42}), ("delete", later, None),
    ]
    for request in requests:
        metadata = json.loads(request.body)["metadata"]
        assert (metadata["table_schema"], metadata["table_name"]) == ("public", "orders")
        assert metadata["idempotency_key"] == request.id
    orders.wait_for_status(3)


def test_a_backfill(orders, hook, change):
    """A row that is sent by hand is what a backfill sends."""
    orders.run("SET pg_webhook.capture = off; INSERT INTO orders VALUES (1, 'Ada', 42)")
    assert parts(change("SELECT webhook_invoke('orders', o) FROM orders AS o")) == ("read", ROW, None)


def test_annotations(orders, hook, receiver):
    """What the session says of itself goes along with the changes of its transaction."""
    with orders.connection.transaction():
        orders.run("""SET LOCAL pg_webhook.context = '{"user": "ada"}'""")
        orders.run("INSERT INTO orders VALUES (1, 'Ada', 42)")
    [request] = receiver.wait(1)
    assert json.loads(request.body)["metadata"]["transaction_annotations"] == {"user": "ada"}


def test_the_move(own_cluster, make_db, receiver):
    """One transaction hands the table over while others write: each row is with one side, and none waits for good."""
    db = make_db(own_cluster(wal_level="logical"), "sequin").hand_over()
    db.run("CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE kept (id int PRIMARY KEY)")
    db.run("CREATE PUBLICATION sequin_pub FOR TABLE orders, kept")
    slot = Slot(db.judge, "sequin_slot", "sequin_pub")
    pages.run(db, PAGE["The body"][0], receiver)
    change_over, left, resume, end = PAGE["Move"]
    # One that has begun before, and sees the table as of then.
    with db.connect() as older, older.transaction():
        older.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        older.execute("INSERT INTO kept VALUES (-10)")
        with writing(db, "orders") as written:
            pages.run(db, change_over, receiver)
        older.execute("INSERT INTO orders VALUES (-1)")
    db.run("INSERT INTO kept VALUES (-11)")
    [[(waiting,)]] = pages.run(db.judge, left, receiver)
    changes = slot.read()
    assert waiting == len(changes)
    assert pages.run(db.judge, left, receiver) == [[(0,)]]
    assert receiver.got() == [], "nothing is sent before Sequin is through"
    pages.run(db, resume, receiver)
    wait_until(lambda: set(db.statuses()) == {"delivered"}, db.statuses)
    here = [json.loads(request.body)["record"]["id"] for request in receiver.got()]
    assert -1 in here
    # The other table stays with Sequin, before and after.
    each_once([change.key for change in changes], here, [*written, -1, -10, -11])
    pages.run(db.judge, end, receiver)
    assert db.judge.value("SELECT count(*) FROM pg_replication_slots") == 0


def test_the_way_back(own_cluster, make_db, receiver):
    """It is handed over again while others write, and what waited here is sent."""
    db = make_db(own_cluster(wal_level="logical"), "sequin").hand_over()
    db.run("CREATE TABLE orders (id int PRIMARY KEY); CREATE PUBLICATION sequin_pub FOR TABLE orders")
    slot = Slot(db.judge, "sequin_slot", "sequin_pub")
    pages.run(db, PAGE["The body"][0], receiver)
    pages.run(db, PAGE["Move"][0], receiver)
    with writing(db, "orders") as written:
        pages.run(db, PAGE["Go back"][0], receiver)
    assert set(db.statuses()) == {"pending"}
    pages.run(db, PAGE["Move"][2], receiver)
    wait_until(lambda: set(db.statuses()) == {"delivered"}, db.statuses)
    here = [json.loads(request.body)["record"]["id"] for request in receiver.got()]
    each_once(here, [change.key for change in slot.read()], written)
