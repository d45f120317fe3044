"""Indexes that an administrator adds to our tables are kept, though rows are written without a statement."""

import pytest

from harness.receiver import reply

NONE = "00000000-0000-0000-0000-000000000000"

# Of each kind one on the events and one on the attempts, with a condition that it answers.
INDEXES = {
    "plain": [("(webhook, id)", "webhook > 0"), ("(webhook_id, started_at)", f"webhook_id > '{NONE}'")],
    "mixed": [("(webhook, upper(event_type))", "webhook > 0 AND upper(event_type) = 'INSERT'"),
              ("(webhook_id, upper(verdict))", f"webhook_id > '{NONE}' AND upper(verdict) = 'RETRY'")],
    "expression": [("(upper(event_type))", "upper(event_type) = 'INSERT'"),
                   ("(upper(verdict))", "upper(verdict) = 'RETRY'")],
    "partial": [("(id) WHERE event_type = 'INSERT'", "event_type = 'INSERT' AND id > 0"),
                ("(delivery) WHERE verdict <> 'delivered'", "verdict <> 'delivered' AND delivery > 0")],
    "brin": [("USING brin (created_at)", "created_at > '2000-01-01'"),
             ("USING brin (started_at)", "started_at > '2000-01-01'")],
}


@pytest.mark.parametrize("kind", INDEXES)
def test_each_kind_of_index_has_what_its_table_has(db, receiver, kind):
    db.run("CREATE EXTENSION amcheck")
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    tables = ["webhook.event_0", "webhook.attempt_0"]
    for number, (table, (index, _)) in enumerate(zip(tables, INDEXES[kind])):
        db.run(f"CREATE INDEX own_{number} ON {table} {index}")
    receiver.on("/", *[reply(200)] * 100, reply(500))
    db.run("INSERT INTO items SELECT generate_series(1, 100)")
    db.wait_for_status(100)
    db.run("UPDATE items SET id = -1 WHERE id = 1")
    db.wait_for_status(1, "retrying")

    # Nothing is missing.
    db.run("""
        SELECT bt_index_check(i.indexrelid, heapallindexed => true)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
        WHERE i.indrelid = ANY (%s::regclass[]) AND am.amname = 'btree'""", tables)
    # Nor is anything there that should not be.
    db.run(f"ANALYZE {', '.join(tables)}")
    for number, (table, (_, condition)) in enumerate(zip(tables, INDEXES[kind])):
        count = f"SELECT count(*) FROM {table} WHERE {condition}"
        with db.connect() as by_index, db.connect() as by_table:
            by_index.execute("SET enable_seqscan = off")
            for way in ("indexscan", "indexonlyscan", "bitmapscan"):
                by_table.execute(f"SET enable_{way} = off")
            plan = by_index.execute(f"EXPLAIN {count}").fetchall()
            assert any(f"own_{number}" in line for (line,) in plan), plan
            found = by_index.execute(count).fetchone()
            assert found == by_table.execute(count).fetchone() and found[0] > 0
