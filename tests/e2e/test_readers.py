"""Whoever looks, tests, replays or makes an event by hand waits for nobody who changes a webhook, and nobody waits for it."""

import psycopg
import pytest

from harness.copies import resume
from harness.receiver import reply

#: All that only reads of a webhook.
READERS = {
    "preview": "SELECT body FROM webhook_preview('hook', 'INSERT', '{\"id\": 7}')",
    "invoke": "SELECT webhook_invoke('hook', items) FROM items WHERE id = 1",
    "test": "SELECT status_code FROM webhook_test('hook')",
    "replay": "SELECT webhook_replay(max(id)) FROM webhook.deliveries WHERE status = 'delivered' AND event_type = 'INSERT'",
    "replay_all": "SELECT webhook_replay_all('hook', status => 'delivered')",
    "cancel_all": "SELECT webhook_cancel_all('hook')",
    "check": "SELECT count(*) FROM webhook_check('hook')",
    "log": "SELECT count(*) FROM webhook_log('hook')",
    "all of the log": "SELECT count(*) FROM webhook_log()",
}
VIEWS = ("webhooks", "deliveries", "attempts", "dead_letters", "stats", "worker", "jobs")
READERS |= {view: f"SELECT count(*) FROM webhook.{view}" for view in VIEWS}

#: Of these the database has to be writable.
WRITERS = ("invoke", "test", "replay", "replay_all", "cancel_all")

#: As SELECT and as INSERT take them, and a moment's test for a unique key.
HARMLESS = {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}

#: Of relations and of rows, as far as others can be kept waiting by them.
LOCKS = """
    SELECT l.locktype, coalesce(l.relation::regclass::text, ''), l.mode FROM pg_locks AS l
    WHERE l.pid = pg_backend_pid() AND l.locktype NOT IN ('virtualxid', 'transactionid')
"""


@pytest.fixture
def watched(db, receiver):
    """A webhook that has delivered something, of an ordinary role."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    return db


def impatient(db, **options):
    """A session that waits for nobody."""
    connection = db.connect(**options)
    connection.execute("SET lock_timeout = '200ms'")
    connection.commit() if not connection.autocommit else None
    return connection


def test_readers_and_changes_do_not_wait_for_each_other(watched):
    db = watched
    with impatient(db, autocommit=False) as reader, impatient(db, autocommit=False) as changer:
        for name, statement in READERS.items():
            # The reader first, then the change beside it.
            assert reader.execute(statement).fetchone(), name
            locks = reader.execute(LOCKS).fetchall()
            assert {mode for _, _, mode in locks} <= HARMLESS, f"{name}: {locks}"
            changer.execute("SELECT webhook_update('hook', description => %s)", [name])
            # And the other way round.
            reader.rollback()
            assert reader.execute(statement).fetchone(), name
            reader.rollback()
            changer.commit()


def test_an_open_reader_does_not_hold_up_the_worker(watched):
    db = watched
    with impatient(db, autocommit=False) as reader:
        for name, statement in READERS.items():
            assert reader.execute(statement).fetchone(), name
        db.run("INSERT INTO items VALUES (2)")
        db.wait_for_status(2)
        assert db.judge.value("SELECT last_error FROM webhook.worker") is None


def test_what_reads_works_where_nothing_can_be_written(watched):
    db = watched
    with impatient(db) as reader:
        reader.execute("SET default_transaction_read_only = on")
        works(reader)


def test_a_standby_shows_what_there_is(site, copy_of, receiver):
    receiver.on("/", reply(200))
    resume(site.cluster, site)
    site.wait_for_status(2)
    standby = copy_of(site.cluster, standby=True).start()
    with standby.connect(site.name, user=site.owner) as reader:
        works(reader)


def works(reader):
    for name, statement in READERS.items():
        if name in WRITERS:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                reader.execute(statement)
        else:
            assert reader.execute(statement).fetchone(), name
