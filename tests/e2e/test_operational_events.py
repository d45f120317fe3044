"""Operational events: somebody is told that a webhook fails, recovers, is paused, or has dead letters."""

import json
import time

import psycopg
import pytest

from harness import wait_until
from harness.receiver import reply


def told(receiver, path="/told"):
    """(type, data) of what was sent there."""
    bodies = [json.loads(request.body) for request in receiver.got(path)]
    return [(body["event"], body["data"]) for body in bodies]


def about(receiver, name, path="/told"):
    """The types of what was told of the webhook of this name."""
    return [kind.removeprefix("pg_webhook.") for kind, data in told(receiver, path) if data["webhook"] == name]


@pytest.fixture
def items(db, receiver):
    """An ordinary role's webhook, and another one of it that asks for what happens to such."""
    db.hand_over()
    db.run("CREATE TABLE items (id int)")
    # One at a time, so that it is known how many fail in a row.
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1, max_concurrency=1)
    db.create("told", receiver.url("/told"), events="{pg_webhook.*}")
    return db


@pytest.fixture
def log(cluster):
    """What the server's log says since the test began: others write to it too."""
    before = len(cluster.log_text())
    return lambda: cluster.log_text()[before:]


def insert(db, count=1):
    for _ in range(count):
        db.run("INSERT INTO items VALUES (1)")


def test_a_webhook_that_fails_and_recovers_is_told_of(items, receiver, log):
    receiver.on("/", *[reply(500)] * 6, reply(200))
    insert(items, 8)
    wait_until(lambda: "webhook.recovered" in about(receiver, "hook"), lambda: told(receiver))
    assert about(receiver, "hook") == ["webhook.failing", "webhook.recovered"]
    (_, failing), (_, recovered) = told(receiver)
    assert all("truncated" not in json.loads(request.body) for request in receiver.got("/told"))
    assert failing["failures"] == 5 and failing["error"] == "http_status: status 500"
    assert failing["webhook_id"] == recovered["webhook_id"] == str(items.value("SELECT id FROM webhook.webhooks WHERE name = 'hook'"))
    assert 'webhook "hook" has failed 5 times in a row: http_status: status 500' in log() and 'webhook "hook" delivers again' in log()
    # They are deliveries as any other.
    kinds = "SELECT event_type, status, attempts FROM webhook.deliveries WHERE webhook = 'told' ORDER BY id"
    items.wait_for_status(2, webhook="told")
    assert items.rows(kinds) == [("pg_webhook.webhook.failing", "delivered", 1), ("pg_webhook.webhook.recovered", "delivered", 1)]


def test_dead_letters_are_counted_and_told_once_a_minute(items, receiver):
    receiver.on("/", reply(400))
    items.run("SELECT webhook_update('hook', max_retries => 0)")
    insert(items, 1)
    receiver.wait(1, "/told")
    insert(items, 30)
    items.wait_for_status(31, "dead")
    time.sleep(1)
    (kind, data), *others = told(receiver)
    assert (kind, data["count"], data["error"]) == ("pg_webhook.delivery.dead", 1, "http_status: status 400")
    assert data["delivery_id"] == items.value("SELECT min(id) FROM webhook.dead_letters")
    assert [kind for kind, _ in others] == ["pg_webhook.webhook.failing"]


def test_what_a_transform_has_failed_for_is_dead_and_told(items, receiver, log):
    items.run("CREATE FUNCTION no(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$")
    items.run("SELECT webhook_update('hook', transform => 'no(jsonb)')")
    insert(items)
    receiver.wait(1, "/told")
    # Not by what: not everybody who is told may see that.
    [(kind, data)] = told(receiver)
    assert (kind, data["error"]) == ("pg_webhook.delivery.dead", "its transform has failed")
    assert data["delivery_id"] == items.value("SELECT id FROM webhook.dead_letters WHERE error LIKE '%%not today%%'")
    assert "not today" not in log()


def test_a_webhook_that_is_paused_by_its_endpoint_is_told_of(items, receiver):
    receiver.on("/", reply(200, headers={"webhook-delivery": "pause"}))
    insert(items)
    receiver.wait(1, "/told")
    [(kind, data)] = told(receiver)
    assert kind == "pg_webhook.webhook.paused" and "webhook-delivery: pause" in data["reason"] and data["by"] is None
    assert items.rows("SELECT health, status FROM webhook.webhooks w JOIN webhook.deliveries d ON d.webhook = w.name WHERE w.name = 'hook'") == [
        ("paused", "delivered")
    ]
    # What happens is kept.
    insert(items)
    items.wait_for_status(1, "pending", webhook="hook")
    receiver.on("/", reply(200))
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(2, webhook="hook")


def test_what_people_do_is_told_of(items, receiver, log):
    items.run("SELECT webhook_pause('hook')")
    receiver.wait(1, "/told")
    items.run("SELECT webhook_resume('hook'); SELECT webhook_update('hook', enabled => false)")
    receiver.wait(2, "/told")
    (paused, data), (disabled, _) = told(receiver)
    assert (paused, data["by"], data["reason"]) == ("pg_webhook.webhook.paused", items.owner, None)
    assert disabled == "pg_webhook.webhook.disabled"
    assert f'webhook "hook" has been paused by role {items.owner}' in log() and 'webhook "hook" has been disabled' in log()


def test_what_is_made_disabled_has_not_become_so(items, receiver):
    """Whoever makes it."""
    items.create("off", receiver.url("/off"), table_name="items", enabled=False)
    applied = json.dumps({"webhooks": {"applied": {"url": receiver.url("/off"), "enabled": False}}})
    assert items.value("SELECT action FROM webhook_apply(%s)", applied) == "created"
    items.run("SELECT webhook_update('off', description => 'still'); SELECT webhook_update('hook', enabled => false)")
    receiver.wait(1, "/told")
    items.run("SELECT webhook_update('off', enabled => true)")
    wait_until(lambda: len(items.rows("SELECT FROM webhook.webhooks WHERE name = 'off' AND health = 'healthy'")) == 1, "it is on")
    time.sleep(0.5)
    items.run("SELECT webhook_update('off', enabled => false)")
    receiver.wait(2, "/told")
    assert [(kind, data["webhook"]) for kind, data in told(receiver)] == [
        ("pg_webhook.webhook.disabled", "hook"), ("pg_webhook.webhook.disabled", "off")
    ]


def test_a_receiver_can_refuse_a_delivery_for_good(items, receiver):
    receiver.on("/", reply(503, headers={"Webhook-Delivery": "Abort"}), reply(204, headers={"webhook-delivery": "abort"}))
    insert(items)
    items.wait_for_status(1, "dead", webhook="hook")
    assert items.rows("SELECT attempts, error FROM webhook.dead_letters") == [(1, "status 503")]
    insert(items)
    items.wait_for_status(1, "delivered", webhook="hook")
    # A test pauses nothing.
    receiver.on("/", reply(410, headers={"webhook-delivery": "pause"}))
    items.run("SELECT webhook_test('hook')")
    assert items.value("SELECT health FROM webhook.webhooks WHERE name = 'hook'") == "healthy"


def test_nobody_is_told_of_itself_or_of_what_it_may_not_see(items, receiver, people):
    group = people("group", attributes="NOLOGIN")
    stranger, admin, colleague = people("stranger", "member"), people("adm", "admin"), people("colleague", "member", member_of=[group])
    items.judge.run(f"GRANT {items.owner} TO {group.role}")
    for who, path in ((stranger, "/stranger"), (admin, "/admin"), (colleague, "/colleague")):
        who.run("SELECT webhook_create('told', %s, events => '{pg_webhook.*}')", receiver.url(path))
    # Emitters are heard for what they emit, and for nothing else.
    stranger.run(f"SELECT webhook_update('told', emitters => '{{{items.owner}}}'::regrole[])")
    items.create("all", receiver.url("/all"), events="{*,pg_*}")
    items.create("off", receiver.url("/off"), events="{pg_webhook.*}", enabled=False)
    receiver.on("/", reply(400))
    receiver.on("/told", reply(400))
    items.run("SELECT webhook_update('hook', max_retries => 0)")
    items.run("SELECT webhook_update('told', max_retries => 0)")
    insert(items)
    for path in ("/admin", "/colleague"):
        wait_until(lambda: len(about(receiver, "hook", path)) == 1, lambda: told(receiver, path))
    wait_until(lambda: items.value("SELECT count(*) FROM webhook.dead_letters WHERE webhook = 'told'") >= 1, lambda: items.rows("SELECT webhook, status, event_type, error FROM webhook.deliveries"))
    time.sleep(0.5)
    # Those that only hear of others make no dead letters of each other.
    for path in ("/admin", "/colleague", "/told"):
        assert about(receiver, "hook", path) == ["delivery.dead"] and about(receiver, "told", path) == []
    for path in ("/stranger", "/all", "/off"):
        assert told(receiver, path) == [], path


def test_nobody_else_emits_them(items, receiver):
    with pytest.raises(psycopg.Error) as caught:
        items.run("SELECT webhook_emit('pg_webhook.webhook.failing', '{}')")
    assert caught.value.sqlstate == "42939"
    assert items.value("SELECT webhook_emit('pg_webhooks', '{}')") == 0


def test_no_transform_makes_them(items, receiver):
    """The worker runs no code of users."""
    items.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{\"mine\": 1}'::jsonb $$")
    items.run("SELECT webhook_update('told', transform => 'shape(jsonb)')")
    receiver.on("/", reply(400, headers={"webhook-delivery": "abort"}))
    insert(items)
    receiver.wait(1, "/told")
    assert about(receiver, "hook") == ["delivery.dead"]


def test_a_webhook_that_fails_for_too_long_is_paused(items, receiver):
    receiver.on("/", reply(400))
    items.run("SELECT webhook_update('hook', disable_after => '2 seconds')")
    insert(items, 3)
    state = "SELECT health, health_reason FROM webhook.webhooks WHERE name = 'hook'"
    wait_until(lambda: items.rows(state)[0][0] == "paused", lambda: items.rows(state))
    assert "disable_after" in items.rows(state)[0][1]
    wait_until(lambda: "webhook.paused" in about(receiver, "hook"), lambda: told(receiver))
    assert items.value("SELECT count(*) FROM webhook.deliveries WHERE webhook = 'hook' AND status = 'retrying'") == 3
    # Whoever resumes it gives it as long again, and a success ends it.
    begun = time.monotonic()
    before = len(receiver.got("/"))
    items.run("SELECT webhook_resume('hook')")
    receiver.wait(before + 1, "/")
    assert items.rows(state)[0][0] == "failing"
    wait_until(lambda: items.rows(state)[0][0] == "paused", lambda: items.rows(state))
    assert time.monotonic() - begun > 2
    receiver.on("/", reply(200))
    items.run("SELECT webhook_update('hook', disable_after => '0'); SELECT webhook_resume('hook')")
    items.wait_for_status(3, webhook="hook")
    assert items.rows("SELECT health, disable_after FROM webhook.webhooks WHERE name = 'hook'") == [("healthy", None)]
