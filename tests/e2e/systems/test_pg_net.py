"""A trigger that calls pg_net, and the move from it as docs/migrating/pg_net.md has it.

pg_net is not here: its tables, and a function that puts requests into one of them as its own does, are.
"""

import json
import re

import pytest

from harness import pages, wait_until
from harness.handover import each_once, writing

PAGE = pages.sql_of("migrating/pg_net.md")
TOKEN = "Bearer the token that the receiver knows"
STANDS_IN = """
    CREATE SCHEMA net;
    CREATE UNLOGGED TABLE net.http_request_queue (
        id bigserial, method text, url text, headers jsonb, body bytea, timeout_milliseconds int);
    CREATE UNLOGGED TABLE net._http_response (
        id bigint, status_code int, content_type text, headers jsonb, content text, timed_out bool, error_msg text,
        created timestamptz NOT NULL DEFAULT now());
    CREATE FUNCTION net.http_post(url text, body jsonb DEFAULT '{}', params jsonb DEFAULT '{}',
        headers jsonb DEFAULT '{"Content-Type": "application/json"}', timeout_milliseconds int DEFAULT 5000)
    RETURNS bigint LANGUAGE sql AS $$
        INSERT INTO net.http_request_queue (method, url, headers, body, timeout_milliseconds)
        VALUES ('POST', url, headers, convert_to(body::text, 'UTF8'), timeout_milliseconds) RETURNING id
    $$;
"""


@pytest.fixture
def shop(db, receiver):
    """A table of an ordinary role's, with the trigger of the page."""
    db.hand_over()
    db.run(STANDS_IN)
    db.run("CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric(10, 2), status text)")
    text = (pages.DOCS / "migrating" / "pg_net.md").read_text()
    [trigger] = re.findall(r"^```plpgsql\n(.*?)^```$", text, re.M | re.S)
    pages.run(db, trigger, receiver)
    pages.run(db, PAGE["The body"][0], receiver)
    return db


def queued(db):
    """The bodies of the requests that pg_net has been given."""
    return [json.loads(body) for (body,) in db.rows("SELECT convert_from(body, 'UTF8') FROM net.http_request_queue ORDER BY id")]


def test_the_body(shop, receiver):
    """The transform makes the body that the trigger made."""
    shop.create(
        "orders", receiver.url("/"), table_name="orders", events=["INSERT", "UPDATE"], transform="order_body(jsonb)",
        headers=json.dumps({"Authorization": TOKEN}),
    )
    shop.run("INSERT INTO orders VALUES (1, 'Ünïcödé', 42, NULL)")
    shop.run("UPDATE orders SET total = 50.50")
    requests = receiver.wait(2)
    bodies = sorted((json.loads(request.body) for request in requests), key=lambda body: body["kind"])
    assert bodies == queued(shop) and [body["kind"] for body in bodies] == ["insert", "update"]
    assert {request.headers["authorization"] for request in requests} == {TOKEN}


def test_the_move(shop, receiver):
    """One transaction changes over while others write: each row is with one side, and the webhook takes none before."""
    preview, change_over, failed, again, end = PAGE["Move"]
    *_, [(body, _)] = pages.run(shop, preview, receiver)
    assert json.loads(body) == {"kind": "insert", "order": {"id": 1, "customer": "Ada", "total": 42, "status": None}}
    with shop.connect() as older, older.transaction():
        older.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        older.execute("SELECT count(*) FROM orders")
        with writing(shop, "orders") as written:
            pages.run(shop, change_over, receiver)
        older.execute("INSERT INTO orders (id) VALUES (-1)")
    wait_until(lambda: set(shop.statuses()) == {"delivered"}, shop.statuses)
    here = [json.loads(request.body)["order"]["id"] for request in receiver.got()]
    there = [body["order"]["id"] for body in queued(shop)]
    each_once(there, here, [*written, -1])
    # What has failed with pg_net: no answer, and one that is no success.
    shop.run("INSERT INTO net._http_response (id, status_code, timed_out) VALUES (1, 200, false), (2, 500, false), (3, NULL, true)")
    [[(count,)], answers] = pages.run(shop, failed, receiver)
    assert count == len(there) and [row[0] for row in answers] == [2, 3]
    pages.run(shop, again, receiver)
    resent = json.loads(receiver.wait(len(here) + 1)[-1].body)
    assert resent["kind"] == "manual" and resent["order"]["id"] == 1
    # And back, which is the same in reverse.
    with shop.connection.transaction():
        shop.run("ALTER TABLE orders ENABLE TRIGGER notify_orders")
        shop.run("SELECT webhook_unwatch('orders', 'orders')")
    shop.run("INSERT INTO orders (id) VALUES (-2)")
    assert queued(shop)[-1]["order"]["id"] == -2 and len(receiver.got()) == len(here) + 1
    pages.run(shop, end, receiver)
    assert shop.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'notify_orders'") == 0
