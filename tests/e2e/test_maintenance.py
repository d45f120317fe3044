"""What an administrator does with our tables as with any."""

import json

import psycopg
import pytest

ORDINARY = ("VACUUM (FREEZE)", "ANALYZE", "REINDEX TABLE CONCURRENTLY")
REWRITES = ("VACUUM FULL", "REINDEX TABLE")


@pytest.fixture
def watched(db, receiver):
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    return db


def written(db):
    return f"webhook.event_{db.value('SELECT slot FROM webhook.ring')}"


def test_maintenance_of_the_table_of_events_loses_none(watched, writer, receiver):
    """Each of its statements, with events before and after, and whoever writes goes on in the same session."""
    watched.run(f"GRANT INSERT ON items TO {writer.role}")
    for number, statement in enumerate((*ORDINARY, *REWRITES)):
        writer.run("INSERT INTO items VALUES (%s)", 2 * number)
        watched.run(f"{statement} {written(watched)}")
        writer.run("INSERT INTO items VALUES (%s)", 2 * number + 1)
    watched.settled()
    arrived = [json.loads(request.body)["record"]["id"] for request in receiver.got()]
    assert sorted(arrived) == list(range(2 * len((*ORDINARY, *REWRITES)))), "each once"


@pytest.mark.parametrize("what", ["events", "definitions"])
@pytest.mark.parametrize("mode", ["SHARE UPDATE EXCLUSIVE", "SHARE", "ACCESS EXCLUSIVE"])
def test_a_write_waits_only_for_what_keeps_writers_from_the_table_of_events(watched, writer, cluster, what, mode):
    """Or, once in a session, readers from the definitions. The locks are those of VACUUM, ANALYZE and REINDEX CONCURRENTLY, of
    REINDEX, and of VACUUM FULL and CLUSTER."""
    watched.run(f"GRANT INSERT ON items TO {writer.role}; ALTER ROLE {writer.role} SET lock_timeout = '300ms'")
    with watched.connect() as session, session.transaction(force_rollback=True):
        session.execute(f"LOCK TABLE {written(watched) if what == 'events' else 'webhook.webhook'} IN {mode} MODE")
        with cluster.connect(watched.name, user=writer.role) as other:
            if mode == "SHARE UPDATE EXCLUSIVE" or (what, mode) == ("definitions", "SHARE"):
                other.execute("INSERT INTO items VALUES (1)")
            else:
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute("INSERT INTO items VALUES (1)")
