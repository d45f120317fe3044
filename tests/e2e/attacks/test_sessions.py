"""What the session of a writer is after a captured write: what it is without us."""

import psycopg
import pytest

WRITES = {
    "insert": "INSERT INTO tabler.t (note) VALUES ('a')",
    "many": "INSERT INTO tabler.t (note) SELECT 'x' FROM generate_series(1, 50)",
    "update": "UPDATE tabler.t SET note = note || '!'",
    "delete": "DELETE FROM tabler.t WHERE id = 1",
    "merge": "MERGE INTO tabler.t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET note = 'm'",
    "upsert": "INSERT INTO tabler.t (id, note) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'y'",
    "failing": "INSERT INTO tabler.t (id, note) VALUES (1, 'x')",
    "truncated": "INSERT INTO tabler.t (note) VALUES (repeat('x', 3000000))",
    "truncate": "TRUNCATE tabler.t",
}


def set_out(stage, key):
    stage.as_("tabler").execute(f"""
        CREATE SEQUENCE tabler.s; CREATE TABLE tabler.t (id {key} PRIMARY KEY, note text);
        INSERT INTO tabler.t (id, note) OVERRIDING SYSTEM VALUE VALUES (1, 'a');
        GRANT ALL ON tabler.t TO writer; GRANT ALL ON ALL SEQUENCES IN SCHEMA tabler TO writer;
    """)
    stage.takes_these_rights()
    stage.webhook("tabler", table_name="tabler.t", events="{INSERT,UPDATE,DELETE,TRUNCATE}")


def sequences(session):
    """lastval and currval, or the errors in their place."""
    said = []
    for statement in ("SELECT lastval()", "SELECT currval('tabler.s')"):
        try:
            said.append(session.execute(statement).fetchone())
        except psycopg.Error as error:
            said.append(error.sqlstate)
    return said


@pytest.mark.parametrize("write", WRITES)
def test_a_write_leaves_what_it_leaves_without_us(stage, write):
    set_out(stage, "int GENERATED ALWAYS AS IDENTITY (START 100)")
    session = stage.as_("writer")

    def outcome(capture):
        session.execute("SELECT set_config('pg_webhook.capture', %s, false)", [capture])
        session.execute("DISCARD SEQUENCES")
        with session.transaction(force_rollback=True):
            try:
                with session.transaction():
                    stage.run("writer", WRITES[write])
            except psycopg.Error:
                pass
            return sequences_in_transaction(session)

    assert outcome("on") == outcome("off")


def sequences_in_transaction(session):
    said = []
    for statement in ("SELECT lastval() IS NOT NULL", "SELECT currval('tabler.s')"):
        try:
            with session.transaction():
                said.append(session.execute(statement).fetchone())
        except psycopg.Error as error:
            said.append(error.sqlstate)
    return said


def test_the_last_value_is_the_writers_own(stage):
    set_out(stage, "int GENERATED ALWAYS AS IDENTITY (START 100)")
    session = stage.as_("writer")
    (id,) = session.execute("INSERT INTO tabler.t (note) VALUES ('a') RETURNING id").fetchone()
    assert session.execute("SELECT lastval()").fetchone() == (id,)


def test_a_sequence_that_was_used_before_stays_the_last_one(stage):
    set_out(stage, "int DEFAULT (random() * 1e9)::int")
    session = stage.as_("writer")
    session.execute("SELECT nextval('tabler.s'), nextval('tabler.s')")
    session.execute("INSERT INTO tabler.t (note) VALUES ('a')")
    assert sequences(session) == [(2,), (2,)]


@pytest.mark.parametrize("who", ["tabler", "writer", "postgres"])
def test_the_private_sequence_is_not_in_the_session(stage, who):
    set_out(stage, "int DEFAULT (random() * 1e9)::int")
    stage.run(who, "INSERT INTO tabler.t (note) VALUES ('a')")
    assert sequences(stage.as_(who)) == ["55000", "55000"]


def test_a_writer_needs_no_rights_of_ours(stage):
    set_out(stage, "int DEFAULT (random() * 1e9)::int")
    held = stage.value("postgres", """
        SELECT count(*) FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
          AND c.relkind IN ('r', 'v', 'p') AND has_table_privilege('writer', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
    """)
    assert held == 0
    stage.run("writer", "INSERT INTO tabler.t (note) VALUES ('a')")
    assert stage.value("tabler", "SELECT count(*) FROM webhook.deliveries") == 1
