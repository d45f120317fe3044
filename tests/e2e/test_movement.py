"""How many wait is added up, not counted."""

from harness import wait_until
from harness.receiver import reply

ROWS = "SELECT count(*) FROM webhook.movement"


def test_what_has_been_written_is_added_up(db, receiver):
    receiver.default(reply(500))
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=5, retry_backoff_seconds=3600)

    def write_until(reached):
        def one_more():
            db.run("INSERT INTO items DEFAULT VALUES")
            return reached(db.judge.value(ROWS))

        wait_until(one_more, lambda: db.judge.rows(ROWS), timeout=120)

    write_until(lambda rows: rows > 64)
    write_until(lambda rows: rows <= 16)
    # none is told twice, or not at all
    written = db.value("SELECT count(*) FROM items")
    wait_until(lambda: db.value("SELECT pending FROM webhook.stats") == written, lambda: db.statuses())
    assert db.value("SELECT pending FROM webhook.webhooks") == db.value("SELECT count(*) FROM webhook.deliveries") == written


def test_somebody_else_than_the_worker_changes_the_backlog(db, receiver):
    """By hand, as only a superuser can: the next run of the worker counts again."""
    receiver.default(reply(500))
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=5, retry_backoff_seconds=3600)
    db.run("INSERT INTO items SELECT FROM generate_series(1, 5)")
    # and the ring is done with, where they would be found again
    there = "SELECT count(*) FROM webhook.pending AS p, webhook.cursor AS k WHERE pg_visible_in_snapshot(p.xid, k.snap)"
    wait_until(lambda: db.judge.value(there) == 5, lambda: db.judge.rows("SELECT * FROM webhook.pending"))
    db.judge.run("DELETE FROM webhook.pending WHERE id = (SELECT min(id) FROM webhook.pending)")
    assert db.value("SELECT pending FROM webhook.stats") == 5
    db.judge.run("SELECT pg_terminate_backend(pid) FROM webhook.worker")
    wait_until(lambda: db.value("SELECT pending FROM webhook.stats") == 4, lambda: db.judge.rows("SELECT * FROM webhook.movement"))


def test_what_is_imported_is_added_up(db, people):
    """Each delivery by itself, in a transaction that the worker knows nothing of."""
    admin = people("adm", "admin")
    admin.run("SELECT webhook_create('hook', 'http://127.0.0.1:9/', events => '{tick}'); SELECT webhook_pause('hook')")
    admin.run("CREATE TEMP TABLE moving AS SELECT * FROM webhook_backlog_export() WITH NO DATA")
    admin.run("""
        INSERT INTO moving (webhook, id, transaction, event_id, event_type, payload, created_at, next_attempt_at, attempts)
        SELECT w.id, g, '5', 'evt_' || g, 'tick', '{}', now(), now() + interval '1 hour', 0
        FROM webhook.webhooks AS w, generate_series(1, 300) AS g
    """)
    assert admin.value("SELECT count(*) FROM moving AS m WHERE webhook_backlog_import(m)") == 300
    assert admin.value("SELECT pending FROM webhook.stats") == 300
    wait_until(lambda: db.value(ROWS) <= 16, lambda: db.rows(ROWS))
    assert admin.value("SELECT pending FROM webhook.stats") == 300
