"""Somebody is told when what waits of a webhook has waited for too long."""

import time

import pytest

from harness import wait_until
from harness.databases import furnish, insert, server_with
from harness.receiver import reply
from test_operational_events import about, told

#: A walk through the backlog begins ten seconds after the one before.
WALKS = 40


@pytest.fixture
def server(own_cluster):
    return own_cluster(pg_webhook__backlog_alert_age="2")


@pytest.fixture
def items(server, make_db, receiver):
    db = make_db(server).hand_over()
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1, max_concurrency=1)
    db.create("told", receiver.url("/told"), events="{pg_webhook.backlog}")
    return db


def overdue(receiver):
    return about(receiver, "hook").count("backlog")


def wait_for(receiver, count):
    wait_until(lambda: overdue(receiver) == count, lambda: told(receiver), WALKS)


def walked(items):
    """A walk has come to its end since: what its bounds make of this is seen."""
    items.run("CREATE TABLE walks (id int)")
    items.create("walked", "http://127.0.0.1:9/", table_name="walks", max_backlog=1)
    items.run("SELECT webhook_pause('walked'); INSERT INTO walks VALUES (1), (2)")
    wait_until(lambda: items.value("SELECT shed FROM webhook.webhooks WHERE name = 'walked'") == 1, "a walk", WALKS)
    items.run("SELECT webhook_delete('walked'); DROP TABLE walks")


def test_what_waits_for_too_long_is_told_once_and_again_when_it_has_not_been_so(server, items, receiver):
    receiver.on("/", reply(500))
    items.run("INSERT INTO items VALUES (1), (2), (3)")
    wait_for(receiver, 1)
    [(kind, data)] = told(receiver)
    assert kind == "pg_webhook.backlog" and data["count"] == 3
    assert data["limit_seconds"] == 2 and 2 <= data["oldest_seconds"] < WALKS
    assert data["webhook_id"] == str(items.value("SELECT id FROM webhook.webhooks WHERE name = 'hook'"))
    assert len(server.log_lines(r'webhook "hook" has 3 events that wait, the oldest for \d+ seconds .pg_webhook.backlog_alert_age is 2.$')) == 1
    # It goes on, also in another run, which knows nothing of when it was told.
    server.stop()
    server.start()
    items.connection = items.connect()
    items.judge.connection = server.connect(items.name)
    items.run("INSERT INTO items VALUES (4)")
    walked(items)
    assert overdue(receiver) == 1
    # It is over, and begins anew.
    receiver.on("/", reply(200))
    items.wait_for_status(4, webhook="hook", timeout=90)
    wait_until(lambda: items.judge.value("SELECT NOT bool_or(overdue) FROM webhook.health"), "it is over", WALKS)
    receiver.on("/", reply(500))
    items.run("INSERT INTO items VALUES (5)")
    wait_for(receiver, 2)
    assert [data["count"] for _, data in told(receiver)] == [3, 1]


def test_what_somebody_keeps_from_being_sent_is_not_told_of(server, items, receiver):
    """Nor is it when that ends: it has as long as any other to be sent."""
    receiver.on("/", reply(500))
    items.run("SELECT webhook_pause('hook'); INSERT INTO items VALUES (1)")
    items.create("off", receiver.url("/off"), table_name="items")
    items.run("SELECT webhook_pause('off'); INSERT INTO items VALUES (2)")
    items.wait_for_status(2, "pending", webhook="hook")
    items.run("SELECT webhook_update('off', enabled => false); SELECT webhook_resume('off')")
    time.sleep(3)
    walked(items)
    receiver.on("/", reply(200))
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(2, webhook="hook")
    # Neither where nothing of the database is sent.
    items.judge.run("SELECT webhook_stop()")
    items.run("INSERT INTO items VALUES (3)")
    time.sleep(3)
    items.judge.run("SELECT webhook_start()")
    items.wait_for_status(3, webhook="hook")
    walked(items)
    assert told(receiver) == []


def test_what_the_worker_has_paused_is_told_of(items, receiver):
    receiver.on("/", reply(410))
    items.run("INSERT INTO items VALUES (1)")
    wait_for(receiver, 1)


def test_nobody_is_told_where_nobody_wants_to_be(server, items, receiver):
    server.reload(pg_webhook__backlog_alert_age="0")
    receiver.on("/", reply(500))
    items.run("INSERT INTO items VALUES (1)")
    time.sleep(3)
    walked(items)
    assert told(receiver) == []
    server.reload(pg_webhook__backlog_alert_age="'3s'")
    wait_for(receiver, 1)
    assert told(receiver)[0][1]["limit_seconds"] == 3


def test_what_waits_is_told_of_in_a_database_that_takes_turns(make_db, receiver):
    """Though its worker leaves before that, and nothing else is to be done there."""
    with server_with(slots=1, pg_webhook__backlog_alert_age="'15s'", pg_webhook__poll_interval="'1d'") as server:
        first, second = (make_db(server, name, extension=False) for name in ("first", "second"))
        for db in (first, second):
            db.run("CREATE EXTENSION pg_webhook")
        first.hand_over()
        furnish(first, receiver, path="/", retry_backoff_seconds=600)
        furnish(second, receiver)
        first.create("told", receiver.url("/told"), events="{pg_webhook.backlog}")
        receiver.on("/", reply(500))
        insert(first)
        first.wait_for_status(1, "retrying")
        # Its worker has gone.
        insert(second)
        second.wait_for_status(1)
        wait_for(receiver, 1)
