"""Who watches webhooks without having to do with them: level monitor, and PostgreSQL's pg_monitor."""

import psycopg
import pytest

from harness import wait_until
from harness.receiver import after, reply

HIDDEN = "row that says hush"

VIEWS = ["webhooks", "deliveries", "attempts", "dead_letters", "stats", "metrics", "worker", "workers"]

#: Statements that change something, or show what a monitor does not see.
REFUSED = [
    "SELECT webhook_pause('hook')", "SELECT webhook_delete('hook')", "SELECT webhook_test('hook')",
    "SELECT webhook_replay(1)", "SELECT webhook_cancel(1)", "SELECT webhook_replay_all('hook')",
    "SELECT webhook_preview('hook', 'DELETE')", "SELECT webhook_stats_reset()", "SELECT webhook_update('hook', description => 'x')",
    "SELECT webhook_rotate_secret('hook')", "SELECT webhook_emit('a.b', '{}')", "SELECT * FROM webhook_backlog_export()",
    "SELECT webhook_arm()", "SELECT * FROM webhook.event", "SELECT * FROM webhook.pending", "SELECT * FROM webhook.attempt",
    "SELECT * FROM webhook.secret", "SELECT * FROM webhook.delivery",
]


@pytest.fixture
def busy(db, receiver):
    """Deliveries of an ordinary role of every kind, whose bodies, answers and errors of transforms say something."""
    receiver.on("/", after(0.01, reply(200, HIDDEN.encode())))
    receiver.on("/bad", reply(400, HIDDEN.encode()))
    db.hand_over()
    db.run("CREATE TABLE items (id int, body text)")
    db.run("CREATE FUNCTION no(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE '%', $1; END $$")
    db.create("hook", receiver.url("/"), table_name="items")
    db.create("bad", receiver.url("/bad"), table_name="items", max_retries=0)
    db.create("later", receiver.url("/bad"), table_name="items", retry_backoff_seconds=3600)
    db.create("failing", receiver.url("/"), table_name="items", transform="no(jsonb)")
    db.run("INSERT INTO items VALUES (1, %s)", HIDDEN)
    db.wait_for_status(1, webhook="hook")
    db.wait_for_status(1, "dead", webhook="bad")
    db.wait_for_status(1, "retrying", webhook="later")
    db.wait_for_status(1, "dead", webhook="failing")
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items VALUES (2, %s)", HIDDEN)
    db.wait_for_status(1, "pending", webhook="hook")
    return db


def sqlstate(person, statement):
    with pytest.raises(psycopg.Error) as caught:
        person.run(statement)
    return caught.value.sqlstate


def test_a_monitor_sees_all_but_bodies_and_answers(busy, people):
    ann = people("ann", "monitor")
    kinds = "SELECT webhook, status, count(*) FROM webhook.deliveries GROUP BY 1, 2 ORDER BY 1, 2"
    assert ann.rows(kinds) == busy.rows(kinds) and len(ann.rows(kinds)) == 5
    for view in VIEWS[:6]:
        count = f"SELECT count(*) FROM webhook.{view}"
        assert ann.value(count) == busy.value(count) > 0, view
    assert ann.value("SELECT count(*) FROM webhook_log()") == busy.value("SELECT count(*) FROM webhook.deliveries")
    assert ann.value("SELECT count(*) FROM webhook_log('bad')") == 2
    for view in [*(f"webhook.{view}" for view in VIEWS), "webhook_log()", "webhook_check()"]:
        shown = repr(ann.rows(f"SELECT * FROM {view}"))
        assert HIDDEN not in shown, view
    assert HIDDEN in repr(busy.rows("SELECT * FROM webhook.deliveries"))
    assert HIDDEN in repr(busy.rows("SELECT * FROM webhook_log()"))
    # What has gone wrong is there, unless a transform has said it.
    errors = "SELECT DISTINCT webhook, error FROM %s WHERE error IS NOT NULL ORDER BY 1"
    for source in ("webhook.deliveries", "webhook_log()", "webhook.attempts"):
        assert ann.rows(errors % source) == [("bad", "status 400"), ("later", "status 400")], source
    # A condition on what is not seen finds nothing.
    leak = "CREATE FUNCTION {0}.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
    ann.run(leak.format(ann.role))
    heard = []
    ann.connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    for view in ("deliveries", "dead_letters"):
        ann.run(f"SELECT id FROM webhook.{view} WHERE {ann.role}.leak(payload) AND {ann.role}.leak(response_body) AND {ann.role}.leak(error)")
        assert ann.rows(f"SELECT id FROM webhook.{view} WHERE payload LIKE '%hush%' OR payload_json::text LIKE '%hush%'") == []
    assert heard and HIDDEN not in repr(heard)


@pytest.mark.parametrize("statement", REFUSED)
def test_a_monitor_changes_nothing(busy, people, statement):
    ann = people("ann", "monitor")
    assert sqlstate(ann, statement) == "42501"


def test_a_member_that_also_monitors_manages_its_own_only(busy, people):
    watch = people("watch", "monitor", attributes="NOLOGIN")
    ann = people("ann", "member", member_of=[watch])
    assert ann.value("SELECT count(*) FROM webhook.webhooks") == 4
    for statement in ("SELECT webhook_pause('hook')", "SELECT webhook_delete('hook')", "SELECT webhook_test('hook')"):
        assert sqlstate(ann, statement) == "42704"
    dead = ann.value("SELECT id FROM webhook.dead_letters WHERE webhook = 'bad' LIMIT 1")
    assert sqlstate(ann, f"SELECT webhook_replay({dead})") == "42704"
    ann.run(f"CREATE TABLE {ann.role}.items (id int)")
    url = busy.value("SELECT url FROM webhook.webhooks WHERE name = 'hook'")
    ann.run(f"SELECT webhook_create('hook', '{url}', '{ann.role}.items')")
    ann.run("SELECT webhook_pause('hook')")
    paused = "SELECT health FROM webhook.webhooks WHERE name = 'hook' AND owner = %s::regrole"
    assert ann.value(paused, ann.role) == "paused"


def test_a_member_of_pg_monitor_sees_numbers_alone(busy, people):
    ann = people("ann")
    assert sqlstate(ann, "SELECT * FROM webhook.stats") == "42501"
    busy.judge.run(f"GRANT pg_monitor TO {ann.role}")
    numbers = "SELECT webhook, failed, pending FROM webhook.stats ORDER BY 1"
    assert ann.rows(numbers) == busy.rows(numbers) != []
    assert ann.value("SELECT count(*) FROM webhook.metrics") == 4
    assert ann.value("SELECT count(*) FROM webhook.workers") >= 1
    for view in ("webhooks", "deliveries", "attempts", "dead_letters", "worker", "numbered", "counted"):
        assert sqlstate(ann, f"SELECT * FROM webhook.{view}") == "42501", view
    # As a viewer it sees of deliveries what viewers do.
    busy.judge.run("SELECT webhook_grant(%s, 'viewer')", ann.role)
    assert ann.rows("SELECT * FROM webhook.deliveries") == ann.rows("SELECT * FROM webhook_log()") == []
    assert ann.value("SELECT count(*) FROM webhook.metrics") == 4


def test_the_server_shows_what_the_worker_does(db, receiver):
    """In pg_stat_activity, as of any session; and in which database."""
    worker = "SELECT state, query, wait_event_type FROM pg_stat_activity WHERE backend_type LIKE 'pg_webhook%' AND datname = current_database()"
    wait_until(lambda: [state for state, *_ in db.rows(worker)] == ["idle"], lambda: db.rows(worker))
    assert db.rows(worker)[0][1].startswith(("reads ", "writes ", "keeps ", "tidies ", "adds "))
    with db.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE webhook.webhook IN ACCESS EXCLUSIVE MODE")
        # Definitions are read again.
        begun = db.value("SELECT clock_timestamp()")
        db.cluster.reload()
        wait_until(lambda: db.rows(worker) == [("active", "reads what is to be sent", "Lock")], lambda: db.rows(worker))
        started = worker.replace("state, query, wait_event_type", "query_start")
        assert db.value(started) > begun
