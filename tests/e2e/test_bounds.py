"""What waits has bounds: beyond them the oldest become dead letters, and dead letters end. Both are told."""

import json
import threading

import psycopg
import pytest

from harness import Cluster, wait_until
from harness.receiver import once, reply


@pytest.fixture
def items(db):
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


def insert(items, first, last, note="x"):
    items.run("INSERT INTO items SELECT n, %s FROM generate_series(%s::int, %s::int) AS n", note, first, last)


def column(items, statement):
    return [value for (value,) in items.rows(statement)]


def ids(items, status, webhook="hook"):
    rows = items.rows("SELECT payload FROM webhook.deliveries WHERE status = %s AND webhook = %s ORDER BY id", status, webhook)
    return [json.loads(payload)["record"]["id"] for (payload,) in rows]


def reached(items, expected, webhook="hook", **bound):
    """Set a bound, which is looked at then, and wait until these events wait and these are dead."""
    named = ", ".join(f"{name} => %({name})s" for name in bound)

    def found():
        return ids(items, "pending", webhook), ids(items, "dead", webhook)

    def asked():
        # What is on its way to the backlog is counted by the next walk.
        items.connection.execute(f"SELECT webhook_update(%(webhook)s, {named})", {"webhook": webhook, **bound})
        return found() == expected

    wait_until(asked, lambda: f"{expected}, not {found()}", interval=0.1)


def paused(items, receiver, count, name="hook", **settings):
    items.create(name, receiver.url(f"/{name}"), table_name="items", **settings)
    items.run("SELECT webhook_pause(%s)", name)
    insert(items, 1, count)
    # In the backlog, and not on the way there.
    wait_until(lambda: items.judge.value("SELECT count(*) FROM webhook.pending") >= count, "the backlog")


def test_the_oldest_of_a_full_backlog_become_dead_letters_and_that_is_told(items, receiver):
    """Of one that is paused as well. Those that are left are sent, and the others when they are replayed."""
    paused(items, receiver, 5)
    since = len(items.cluster.log_text())
    reached(items, ([3, 4, 5], [1, 2]), max_backlog=3)
    reason = "backlog_full: more than 3 events wait (the webhook's max_backlog)"
    assert column(items, "SELECT DISTINCT error FROM webhook.dead_letters") == [reason]
    assert items.value("SELECT count(*) FROM webhook.attempts") == 0
    health, told, shed = items.rows("SELECT health, health_reason, shed FROM webhook.webhooks")[0]
    assert health == "paused" and shed == 2
    by, told = told.split("; ", 1)
    assert told.startswith("a bound has been reached: 2 events have become dead letters") and told.endswith(reason)
    assert items.rows("SELECT severity, problem FROM webhook_check('hook')") == [("notice", by), ("warning", told)]
    assert len(items.cluster.log_lines('webhook "hook" has reached a bound: 2 events', since)) == 1
    # New ones go in, and others out.
    insert(items, 6, 7)
    reached(items, ([5, 6, 7], [1, 2, 3, 4]), description="awake")
    assert len(items.cluster.log_lines('webhook "hook" has reached a bound', since)) == 1, "once an hour"
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(3)
    assert items.job("webhook_replay_all('hook')") == 4
    items.wait_for_status(7)
    assert sorted(json.loads(r.body)["record"]["id"] for r in receiver.got()) == list(range(1, 8))


#: What else keeps a webhook from sending or capturing. The last is as a restore leaves it.
IDLE = {
    "disabled": "SELECT webhook_update('hook', enabled => false)",
    "broken": "DROP TABLE items",
    "unarmed": "UPDATE webhook.webhook SET installation = 'elsewhere'",
}


@pytest.mark.parametrize("health", IDLE)
def test_a_bound_holds_whatever_keeps_a_webhook_from_sending(items, receiver, health):
    paused(items, receiver, 5)
    (items.judge if health == "unarmed" else items).run(IDLE[health])
    # One that is broken would send what waits.
    if health != "broken":
        items.run("SELECT webhook_resume('hook')")
    assert items.value("SELECT health FROM webhook.webhooks") == health
    reached(items, ([3, 4, 5], [1, 2]), max_backlog=3)
    items.judge.run("UPDATE webhook.pending SET next_at = next_at - interval '61 days' WHERE id = (SELECT id FROM webhook.pending WHERE next_at < 'infinity' ORDER BY id LIMIT 1)")
    reached(items, ([4, 5], [1, 2, 3]), description="awake")
    assert not receiver.got()


def test_a_backlog_is_bounded_by_bytes(items, receiver):
    items.create("hook", receiver.url("/"), table_name="items")
    items.run("SELECT webhook_pause('hook')")
    insert(items, 1, 4, note="x" * 10_000)
    items.wait_for_status(4, "pending")
    reached(items, ([3, 4], [1, 2]), max_backlog_bytes=25_000)
    reason = "backlog_full: events wait with more than 25000 bytes (the webhook's max_backlog_bytes)"
    assert column(items, "SELECT DISTINCT error FROM webhook.dead_letters") == [reason]


def test_what_has_waited_for_too_long_is_dead(items, receiver):
    """By the time that it has been there, not by that of its event, which a clock that is set would change."""
    paused(items, receiver, 2)
    items.judge.run("UPDATE webhook.pending SET created_at = created_at - interval '1 year'")
    items.judge.run("UPDATE webhook.pending SET next_at = next_at - interval '61 days' WHERE id = (SELECT min(id) FROM webhook.pending)")
    reached(items, ([2], [1]), description="awake")
    reason = "expired: it has waited for longer than 60 days (pg_webhook.max_backlog_age)"
    assert column(items, "SELECT error FROM webhook.dead_letters") == [reason]
    reached(items, ([], [1, 2]), max_backlog_age="1 second")


def test_a_time_in_which_nobody_could_try_does_not_count_for_the_age(items, receiver):
    paused(items, receiver, 1)
    worker = items.judge.value("SELECT pid FROM webhook.worker")
    with items.judge.connection.transaction():
        # The next worker waits for this.
        items.judge.run("LOCK TABLE webhook.absence")
        items.judge.run("UPDATE webhook.pending SET next_at = next_at - interval '100 days'")
        items.judge.run("INSERT INTO webhook.absence SELECT now() - interval '99 days', now() - interval '2 days'")
        assert items.judge.value("SELECT pg_terminate_backend(%s, 10000)", worker)
    items.create("other", receiver.url("/other"), table_name="items")
    items.run("SELECT webhook_pause('other')")
    insert(items, 2, 3)
    # The walk comes from the newest to the oldest: by this it has been there.
    wait_until(lambda: items.judge.value("SELECT count(*) FROM webhook.pending") == 5, "the backlog")
    reached(items, ([3], [2]), "other", max_backlog=1)
    assert ids(items, "pending") == [1, 2, 3]


def test_dead_letters_end_when_the_log_has_forgotten_their_events(items, receiver):
    """Nothing tells what has become of an event that the log still holds otherwise."""
    receiver.default(reply(500))
    items.create("hook", receiver.url("/hook"), table_name="items", max_retries=0)
    insert(items, 1, 3)
    items.wait_for_status(3, "dead")
    paused(items, receiver, 0, "other")
    insert(items, 4, 5)
    items.wait_for_status(5, "dead")
    items.run("SELECT webhook_update('hook', max_backlog => 4, dead_letter_retention => '1 hour')")
    reached(items, ([5], [4]), "other", max_backlog=1)
    assert ids(items, "dead") == [1, 2, 3, 4, 5]
    # As the ring does when it turns.
    items.judge.run("TRUNCATE webhook.event")
    reached(items, ([], [2, 3, 4, 5]), description="awake")
    assert items.rows("SELECT shed, expired FROM webhook.webhooks WHERE name = 'hook'") == [(0, 1)]
    items.judge.run("UPDATE webhook.pending SET dead_at = dead_at - interval '61 minutes' WHERE id IN (SELECT id FROM webhook.dead_letters WHERE webhook = 'hook' LIMIT 3)")
    wait_until(lambda: items.run("SELECT webhook_update('hook', description => 'awake')") and len(ids(items, "dead")) == 1, "the old ones to end", interval=0.2)
    [told] = column(items, "SELECT health_reason FROM webhook.webhooks WHERE name = 'hook'")
    assert "4 dead letters have ended" in told and "older than 3600 seconds (the webhook's dead_letter_retention)" in told


def test_what_somebody_has_ended_does_not_count(items, receiver):
    paused(items, receiver, 4)
    items.run("SELECT webhook_cancel(id) FROM webhook.deliveries ORDER BY id DESC LIMIT 2")
    items.wait_for_status(2, "cancelled")
    insert(items, 5, 5)
    items.wait_for_status(3, "pending")
    reached(items, ([2, 5], [1]), max_backlog=2)
    assert items.statuses() == {"cancelled": 2, "pending": 2, "dead": 1}


def test_what_is_under_way_is_left_alone(items, receiver):
    answer = threading.Event()
    receiver.on("/", reply(500), once(answer, reply(200)))
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1, max_concurrency=1)
    insert(items, 1, 1)
    # It is in the backlog, and its second attempt has begun.
    receiver.wait(2)
    items.run("SELECT webhook_pause('hook')")
    insert(items, 2, 4)
    items.wait_for_status(3, "pending")
    reached(items, ([4], [2, 3]), max_backlog=1)
    assert ids(items, "retrying") == [1]
    answer.set()
    items.wait_for_status(1)
    assert ids(items, "delivered") == [1]


def test_what_is_under_way_takes_no_place_of_a_dead_letter(items, receiver):
    answer = threading.Event()
    receiver.on("/", reply(500), reply(500), reply(500), once(answer, reply(200)))
    items.create("hook", receiver.url("/"), table_name="items", max_retries=0, retry_backoff_seconds=1, max_concurrency=1)
    insert(items, 1, 2)
    items.wait_for_status(2, "dead")
    items.judge.run("TRUNCATE webhook.event")
    items.run("SELECT webhook_update('hook', max_retries => 5)")
    insert(items, 3, 3)
    receiver.wait(4)
    items.run("SELECT webhook_pause('hook')")
    insert(items, 4, 7)
    items.wait_for_status(4, "pending")
    reached(items, ([5, 6, 7], [1, 2, 4]), max_backlog=3)
    answer.set()
    items.wait_for_status(1)


def test_a_dead_letter_that_ends_while_somebody_replays_or_cancels_it_counts_once(items, receiver):
    """Nobody waits for the other, and the replay is sent."""
    receiver.on("/", reply(500), reply(500), reply(500), reply(200))
    items.create("hook", receiver.url("/"), table_name="items", max_retries=0, max_concurrency=1)
    insert(items, 1, 3)
    items.wait_for_status(3, "dead")
    items.judge.run("TRUNCATE webhook.event")
    first, second, _ = column(items, "SELECT id FROM webhook.dead_letters ORDER BY id")
    counts = "SELECT shed, expired FROM webhook.webhooks"
    with items.connect(autocommit=False) as replaying, items.connect(autocommit=False) as cancelling:
        replaying.execute("SELECT webhook_replay(%s)", [first])
        cancelling.execute("SELECT webhook_cancel(%s)", [second])
        reached(items, ([], [3]), max_backlog=1)
        assert items.rows(counts) == [(0, 2)]
    items.wait_for_status(1)
    assert [json.loads(r.body)["record"]["id"] for r in receiver.got()] == [1, 2, 3, 1]
    insert(items, 4, 4)
    items.wait_for_status(2)
    reached(items, ([], [3]), description="awake")
    assert items.rows(counts) == [(0, 2)] and items.statuses() == {"delivered": 2, "dead": 1}


def test_a_bound_is_the_servers_where_the_webhook_has_none(items, receiver):
    paused(items, receiver, 3)
    reached(items, ([3], [1, 2]), max_backlog=1)
    items.run("SELECT webhook_update('hook', max_backlog => 0, max_backlog_bytes => 0, max_backlog_age => '0', dead_letter_retention => '0')")
    insert(items, 4, 5)
    items.wait_for_status(3, "pending")
    bounds = "SELECT max_backlog, max_backlog_bytes, max_backlog_age, dead_letter_retention FROM webhook.webhooks"
    assert items.rows(bounds) == [(None, None, None, None)]


@pytest.fixture(scope="module")
def bounded():
    """A server whose bounds tests set."""
    server = Cluster("bounds").start()
    yield server
    server.destroy()


AGED = "UPDATE webhook.pending SET next_at = next_at - interval '61 minutes', dead_at = dead_at - interval '61 minutes' WHERE id IN (SELECT id FROM webhook.pending ORDER BY id LIMIT 2)"
#: Of the server: a setting, a value that three of five events keep, whether dead letters are counted, and why the others go.
SETTINGS = [
    ("max_backlog", "3", False, "backlog_full: more than 3 events wait"),
    ("max_backlog", "3", True, "more than 3 dead letters are kept"),
    ("max_backlog_bytes", "'1MB'", False, "backlog_full: events wait with more than 1048576 bytes"),
    ("max_backlog_bytes", "'1MB'", True, "dead letters are kept with more than 1048576 bytes"),
    ("max_backlog_age", "'1h'", False, "expired: it has waited for longer than 3600 seconds"),
    ("dead_letter_retention", "'1h'", True, "older than 3600 seconds"),
]


@pytest.mark.parametrize("setting, value, dead, reason", SETTINGS)
def test_a_bound_of_the_server_holds_from_a_reload_to_the_next(bounded, make_db, receiver, setting, value, dead, reason):
    """What is beyond it names the setting. Once it is lifted, what comes and what is left stays."""
    items = make_db(bounded).hand_over()
    items.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    receiver.on("/hook", reply(500))
    items.create("hook", receiver.url("/hook"), table_name="items", payload_columns=["id", "note"], max_retries=0)
    if not dead:
        items.run("SELECT webhook_pause('hook')")
    # Three of these have less than a megabyte, and four have more.
    insert(items, 1, 5, note="x" * 300_000)
    items.wait_for_status(5, "dead" if dead else "pending")
    wait_until(lambda: items.judge.value("SELECT count(*) FROM webhook.pending") == 5, "the backlog")
    if dead:
        # As the ring does when it turns.
        items.judge.run("TRUNCATE webhook.event")
    items.judge.run(AGED)
    lifted = items.value(f"SELECT reset_val || coalesce(unit, '') FROM pg_settings WHERE name = 'pg_webhook.{setting}'")

    # Bounds hold while nothing is sent, and what is sent then tells that the worker has seen the next reload.
    bounded.reload(**{f"pg_webhook__{setting}": value, "pg_webhook__enabled": "off"})
    reached(items, ([], [3, 4, 5]) if dead else ([3, 4, 5], [1, 2]), description="awake")
    reason = f"{reason} (pg_webhook.{setting})"
    if not dead:
        assert column(items, "SELECT DISTINCT error FROM webhook.dead_letters") == [reason]
    [(shed, expired, told)] = items.rows("SELECT shed, expired, health_reason FROM webhook.webhooks")
    assert (shed, expired) == ((0, 2) if dead else (2, 0))
    assert reason in told

    items.create("other", receiver.url("/other"), table_name="items")
    bounded.reload(**{f"pg_webhook__{setting}": f"'{lifted}'", "pg_webhook__enabled": "on"})
    insert(items, 6, 6, note="x" * 300_000)
    receiver.wait(1, "/other")
    now = ([], [3, 4, 5, 6]) if dead else ([3, 4, 5, 6], [1, 2])
    wait_until(lambda: (ids(items, "pending"), ids(items, "dead")) == now, lambda: f"the new one: {items.statuses()}")
    items.run("SELECT webhook_pause(name) FROM webhook.webhooks")
    insert(items, 7, 10, note="x" * 300_000)
    items.judge.run(AGED)
    # The other one has a bound of its own. The walk that finds it has passed these.
    reached(items, ([10], [7, 8, 9]), "other", max_backlog=1)
    assert (ids(items, "pending"), ids(items, "dead")) == ([*now[0], 7, 8, 9, 10], now[1])


@pytest.mark.parametrize("bound, value", [
    ("max_backlog", "-1"), ("max_backlog_bytes", "-1"), ("max_backlog_age", "'11 years'"), ("dead_letter_retention", "'-1 day'"), ("disable_after", "'11 years'"),
])
def test_a_bound_that_is_none_is_refused(items, receiver, bound, value):
    with pytest.raises(psycopg.Error, match=bound):
        items.run(f"SELECT webhook_create('hook', '{receiver.url('/')}', 'items', {bound} => {value})")
