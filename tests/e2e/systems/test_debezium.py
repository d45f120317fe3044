"""A receiver of Debezium Server's HTTP sink, and the move from it as docs/migrating/debezium.md has it."""

import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from harness import pages, wait_until
from harness.handover import each_once, writing
from harness.pgoutput import Slot
from harness.verify import verify_node, verify_python

PAGE = pages.sql_of("migrating/debezium.md")
ROW = {"id": 1, "customer": "Ada", "total": 42}
LATER = {**ROW, "total": 50}
# Base64 of 24 bytes, without `whsec_` in front, as the sink takes it.
SECRET = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture
def hook(orders, receiver):
    """Makes a webhook with one of the page's transforms."""
    for block in PAGE["The body"]:
        pages.run(orders, block, receiver)

    def hook(transform, **settings):
        return orders.create("orders", receiver.url("/"), table_name="orders", transform=f"{transform}(jsonb)", **settings)

    return hook


def test_the_envelope(orders, hook, row_changes, change):
    """The documented envelope for each operation, without a schema."""
    hook("as_debezium", secret=SECRET)
    requests = row_changes()
    orders.run("SET pg_webhook.capture = off; INSERT INTO orders VALUES (1, 'Ada', 42)")
    requests.append(change("SELECT webhook_invoke('orders', o) FROM orders AS o"))
    bodies = [json.loads(request.body) for request in requests]
    assert [(body["op"], body["before"], body["after"]) for body in bodies] == [
        ("c", None, ROW), ("u", ROW, LATER), ("d", LATER, None), ("r", None, ROW),
    ]
    for body, request in zip(bodies, requests):
        assert set(body) == {"before", "after", "source", "op", "ts_ms"}
        source = body["source"]
        assert (source["connector"], source["db"], source["schema"], source["table"]) == ("postgresql", orders.name, "public", "orders")
        assert source["ts_ms"] == body["ts_ms"] and abs(body["ts_ms"] / 1000 - request.time) < 60


def test_the_signature(orders, hook, change):
    """`standard-webhooks`: the secret of the sink is taken as it is, and its receivers check ours."""
    hook("as_debezium", secret=SECRET)
    request = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    verify_python(SECRET, request)
    assert verify_node(SECRET, [request]) == [None]


def test_a_truncate(orders, hook, change):
    """An event of its own, where it is asked for."""
    hook("as_debezium", events=["TRUNCATE"])
    body = json.loads(change("TRUNCATE orders").body)
    assert (body["op"], body["before"], body["after"]) == ("t", None, None)


def test_cloudevents(orders, hook, row_changes):
    """The library reads the events, and finds before, after and the operation in them."""
    hook("as_debezium_event", format="cloudevents")
    events = [from_http_event(HTTPMessage(headers=r.headers, body=r.body)) for r in row_changes()]
    found = [(e.get_attributes()["iodebeziumop"], e.get_data()["before"], e.get_data()["after"]) for e in events]
    assert found == [("c", None, ROW), ("u", ROW, LATER), ("d", LATER, None)]
    attributes = [event.get_attributes() for event in events]
    assert {(a["iodebeziumschema"], a["iodebeziumtable"]) for a in attributes} == {("public", "orders")}
    assert [event.get_type() for event in events] == ["orders.insert", "orders.update", "orders.delete"]


def test_the_move(own_cluster, make_db, receiver):
    """One transaction hands the table over while others write: each row is with one side."""
    db = make_db(own_cluster(wal_level="logical"), "debezium").hand_over()
    db.run("CREATE TABLE orders (id int PRIMARY KEY); CREATE PUBLICATION dbz_publication FOR TABLE orders")
    slot = Slot(db.judge, "debezium", "dbz_publication")
    pages.run(db, PAGE["The body"][0], receiver)
    change_over, left, resume, end = PAGE["Move"]
    with writing(db, "orders") as written:
        pages.run(db, change_over, receiver)
    [[(waiting,)]] = pages.run(db.judge, left, receiver)
    there = [change.key for change in slot.read()]
    assert waiting == len(there) and pages.run(db.judge, left, receiver) == [[(0,)]]
    assert receiver.got() == []
    pages.run(db, resume, receiver)
    wait_until(lambda: set(db.statuses()) == {"delivered"}, db.statuses)
    requests = receiver.got()
    verify_python(SECRET, requests[0])
    each_once(there, [json.loads(request.body)["after"]["id"] for request in requests], written)
    pages.run(db, PAGE["Go back"][0], receiver)
    db.run("INSERT INTO orders VALUES (-1)")
    assert [change.key for change in slot.read()] == [-1]
    pages.run(db.judge, end, receiver)
    assert db.judge.value("SELECT count(*) FROM pg_replication_slots") == 0


def test_both_sides_name_the_transaction(own_cluster, make_db, receiver):
    """Where both capture, `txId`, the key and `op` are the same on both, in subtransactions too."""
    db = make_db(own_cluster(wal_level="logical"), "debezium").hand_over()
    db.run("CREATE TABLE orders (id int PRIMARY KEY, n int); CREATE PUBLICATION dbz_publication FOR TABLE orders")
    slot = Slot(db.judge, "debezium", "dbz_publication")
    pages.run(db, PAGE["The body"][0], receiver)
    db.create("orders", receiver.url("/"), table_name="orders", transform="as_debezium(jsonb)")
    db.run("INSERT INTO orders VALUES (1, 1), (2, 1)")
    with db.connection.transaction():
        with db.connection.transaction():
            db.run("INSERT INTO orders VALUES (3, 1)")
        db.run("UPDATE orders SET n = 2 WHERE id < 3")
        db.run("DELETE FROM orders WHERE id = 2")
    bodies = [json.loads(request.body) for request in receiver.wait(6)]
    ours = {(body["source"]["txId"], body["op"], (body["after"] or body["before"])["id"]) for body in bodies}
    theirs = {(change.xid, {"I": "c", "U": "u", "D": "d"}[change.kind], change.key) for change in slot.read()}
    assert ours == theirs and len(ours) == 6
