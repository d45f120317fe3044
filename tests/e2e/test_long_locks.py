"""Somebody holds a lock on one of our tables for a minute: it is told once, with who it is and what to do, and is over with it."""

import time

import pytest

from harness import wait_until
from harness.receiver import reply

SECONDS = 61

#: What is told of a lock on each, and when it is over.
TOLD = {
    "webhook.pending": ("new events are sent, retries wait: webhook.pending is locked by ", "the backlog is written to again"),
    "webhook.cursor": ("schema webhook is locked by .*trying again", "working again"),
    "webhook.attempt": ("schema webhook is locked by .*trying again", "working again"),
}


@pytest.mark.parametrize("table", TOLD)
def test_a_lock_for_a_minute(db, receiver, table):
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial)")
    db.create("well", receiver.url("/well"), table_name="items")
    db.create("down", receiver.url("/down"), table_name="items", retry_backoff_seconds=1)
    db.run("INSERT INTO items DEFAULT VALUES")
    db.wait_for_status(2)
    receiver.on("/down", reply(500))
    since = len(db.cluster.log_text())
    with db.cluster.connect(db.name, autocommit=False) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        who = f"process {other.info.backend_pid} of role postgres"
        for _ in range(SECONDS):
            db.run("INSERT INTO items DEFAULT VALUES")
            time.sleep(1)
        error = db.judge.value("SELECT last_error FROM webhook.worker")
        assert who in error and "let that end, or end it with pg_terminate_backend" in error
    receiver.on("/down", reply(200))
    db.wait_for_status(2 * (1 + SECONDS))
    assert len({request.id for request in receiver.got("/well")}) == len(receiver.got("/well")) == 1 + SECONDS, "each once"
    wait_until(lambda: db.judge.value("SELECT last_error FROM webhook.worker") is None, "an end of it")
    told, over = TOLD[table]
    lines = db.cluster.log_lines(told, since)
    assert len(lines) == 1 and who in lines[0], lines
    assert len(db.cluster.log_lines(over, since)) == 1
