"""Partitions that come and go by themselves, with the statements of pg_partman 4.7, which makes them as whoever runs
its maintenance: the owner of the table, or a role that is a member of that. The webhook is another role's."""

import json

import pytest

from harness.status import OF_ENDPOINTS

URL = "http://127.0.0.1:9/"

#: A partition for ids from {low} to {high}.
MAKE = """
    CREATE TABLE {own}.part_{low} (LIKE {own}.part INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE
        INCLUDING COMMENTS INCLUDING GENERATED INCLUDING INDEXES);
    ALTER TABLE {own}.part_{low} SET (autovacuum_enabled = true);
    ALTER TABLE {own}.part ATTACH PARTITION {own}.part_{low} FOR VALUES FROM ('{low}') TO ('{high}')
"""
#: With `inherit_privileges`, and without; then the partition stays the maintenance's.
SHARE = """
    REVOKE ALL ON {own}.part_{low} FROM PUBLIC; GRANT SELECT, INSERT, TRIGGER ON {own}.part_{low} TO PUBLIC;
    ALTER TABLE {own}.part_{low} OWNER TO {own}
"""
#: Rows that came before their partition.
MOVE = """
    CREATE TEMP TABLE partman_temp_data_storage (LIKE {own}.part_default INCLUDING INDEXES) ON COMMIT DROP;
    WITH partition_data AS (DELETE FROM ONLY {own}.part_default WHERE id >= {low} AND id < {high} RETURNING *)
        INSERT INTO partman_temp_data_storage SELECT * FROM partition_data;
    {make};
    WITH partition_data AS (DELETE FROM partman_temp_data_storage RETURNING *)
        INSERT INTO {own}.part SELECT * FROM partition_data
"""
#: What is over.
RETIRE = "ALTER TABLE {own}.part DETACH PARTITION {own}.part_{low}"


def maintain(person, statements, own, low=0):
    """In one transaction, as a function's statements are."""
    names = {"own": own, "low": low, "high": low + 100}
    with person.connection.transaction():
        person.run(statements.format(**names, make=MAKE.format(**names)))


def captured(db):
    rows = db.rows("SELECT event_type, table_name, payload FROM webhook.deliveries ORDER BY id")
    return [(event, table, json.loads(payload)["record"]["id"]) for event, table, payload in rows]


@pytest.mark.parametrize("shared", [True, False], ids=["the owner's", "the maintenance's"])
@pytest.mark.parametrize("who", ["owner", "keeper"])
def test_rows_of_partitions_that_maintenance_makes_arrive_once(db, people, who, shared):
    owner, hook, writer = people("own"), people("hook", "member"), people("wri")
    keeper = people("keep", member_of=[owner])
    maintenance = {"owner": owner, "keeper": keeper}[who]
    own = owner.role
    owner.run(f"""
        CREATE TABLE {own}.part (id bigint NOT NULL PRIMARY KEY, note text DEFAULT 'x') PARTITION BY RANGE (id);
        CREATE TABLE {own}.part_default PARTITION OF {own}.part DEFAULT;
        GRANT SELECT, INSERT, TRIGGER ON {own}.part, {own}.part_default TO PUBLIC""")
    hook.run(f"SELECT webhook_create('hook', %s, '{own}.part', '{{INSERT}}', condition => 'true')", URL)
    for low in (0, 100):
        maintain(maintenance, MAKE + (f";{SHARE}" if shared else ""), own, low)
    writer.run(f"INSERT INTO {own}.part VALUES (1), (101), (250)")
    # While the webhook changes, too.
    hook.run("SELECT webhook_update('hook', events => '{INSERT,DELETE}')")
    maintain(maintenance, MOVE, own, 200)
    writer.run(f"INSERT INTO {own}.part VALUES (2), (251)")
    maintain(maintenance, RETIRE, own, 0)
    maintenance.run(f"INSERT INTO {own}.part_0 VALUES (3); DROP TABLE {own}.part_0")
    # The row that has been moved was deleted and inserted, which is what is told of it.
    assert captured(db) == [
        ("INSERT", "part", 1), ("INSERT", "part", 101), ("INSERT", "part", 250),
        ("DELETE", "part", 250), ("INSERT", "part", 250), ("INSERT", "part", 2), ("INSERT", "part", 251),
    ]
    told = f"SELECT * FROM webhook_check() WHERE NOT {OF_ENDPOINTS}"
    assert [*hook.rows(told), *db.rows(told)] == []
