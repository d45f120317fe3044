"""A session that changes a webhook and does not commit holds up nobody else's deliveries."""

import threading

import pytest

from harness import wait_until
from harness.receiver import once, reply

CHANGES = {
    "delete": "SELECT webhook_delete('hook')", "pause": "SELECT webhook_pause('hook')",
    "update": "SELECT webhook_update('hook', timeout_seconds => 5, enabled => false)",
    "rename": "SELECT webhook_update('hook', name => 'other name')", "test": "SELECT webhook_test('hook')",
    "cancel": "SELECT webhook_cancel(max(id)) FROM webhook.deliveries WHERE webhook = 'hook'",
    "replay": "SELECT webhook_replay(max(id)) FROM webhook.deliveries WHERE webhook = 'hook'",
    "replay_all": "SELECT webhook_replay_all('hook')", "cancel_all": "SELECT webhook_cancel_all('hook')",
    "grant": "SELECT webhook_grant('pg_monitor', 'viewer')",
}


@pytest.mark.parametrize("status", [410, 500])
@pytest.mark.parametrize("change", CHANGES)
def test_outcomes_are_written(db, receiver, make_receiver, change, status):
    other = make_receiver()
    db.run("CREATE TABLE items (id int); CREATE TABLE others (id int)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    db.create("other", other.url("/"), table_name="others")
    changed = threading.Event()
    receiver.on("/", once(changed, reply(status)), reply(status))
    db.run("INSERT INTO items VALUES (1)")
    receiver.wait(1)
    with db.connect() as session, session.transaction(force_rollback=True):
        session.execute(CHANGES[change])
        changed.set()
        wait_until(lambda: db.rows("SELECT FROM webhook.attempts"), "the outcome")
        db.run("INSERT INTO others VALUES (1)")
        db.wait_for_status(1, webhook="other")
        # Had the worker waited for the session, it would have given up after two seconds, and say so.
        assert db.value("SELECT last_error FROM webhook.worker") is None
