"""What a transform and a cast may try beside settings: to end transactions, to reach cursors, locks and statements of the
session, to call us, to be called as somebody else later."""

import pytest

WRITE = "INSERT INTO member.own VALUES (1)"


def set_out(stage, also="", **settings):
    """A webhook of member's with a transform, on a table that others write to."""
    stage.spy("member")
    stage.as_("member").execute("""
        CREATE TABLE member.own (id int); CREATE TABLE member.log (id int);
        GRANT SELECT, INSERT ON member.own TO writer, admin
    """)
    stage.as_("member").execute("""
        CREATE PROCEDURE member.call() LANGUAGE plpgsql AS 'BEGIN PERFORM member.spy(1); END';
        CREATE PROCEDURE member.commit() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
    """)
    shape(stage, also)
    stage.webhook("member", table_name="member.own", events="{INSERT,a.*}", transform="member.shape(jsonb)", **settings)


def shape(stage, also):
    stage.spy("member", "shape", "jsonb", "jsonb", "v", also)


#: What it tries, and the SQLSTATE of what refuses it; None where it does what it can do to nobody. Any other error would
#: be one of the attempt itself.
TRIES = {
    "read-only": ("SET TRANSACTION READ ONLY", None),
    "read-only-by-setting": ("SELECT set_config('transaction_read_only', 'on', true)", None),
    "isolation": ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "25001"),
    "deferrable": ("SET TRANSACTION DEFERRABLE", "25001"),
    "characteristics": ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", None),
    "snapshot": ("SELECT pg_export_snapshot()", "25001"),
    "import-snapshot": ("SET TRANSACTION SNAPSHOT '%s'", "25001"),
    "copy-out": ("COPY member.own TO STDOUT", "0A000"),
    "copy-in": ("COPY member.own FROM STDIN", "0A000"),
    "copy-program": ("COPY member.own TO PROGRAM 'true'", "42501"),
    "alter-table": ("ALTER TABLE member.own ADD COLUMN more int", "42501"),
    "alter-trigger": ("ALTER TABLE member.own DISABLE TRIGGER ALL", "42501"),
    "drop-itself": ("DROP FUNCTION member.shape(jsonb)", "42501"),
    "drop-table": ("DROP TABLE member.own", "42501"),
    "replace-itself": ("CREATE OR REPLACE FUNCTION member.shape(v jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT v'", "42501"),
    "alter-function": ("ALTER FUNCTION member.shape(jsonb) SECURITY DEFINER", "42501"),
    "deallocate": ("DEALLOCATE ALL", "42501"),
    "execute": ("EXECUTE wp", "42501"),
    "prepare": ("PREPARE wp2 AS SELECT 1", "42501"),
    "close-all": ("CLOSE ALL", "42501"),
    "move": ("MOVE ALL IN wc", "55000"),
    "fetch": ("FETCH ALL FROM wc", "55000"),
    "cursor-to-xml": ("SELECT cursor_to_xml('wc', 10, false, false, '')", "55000"),
    "commit": ("COMMIT", "0A000"),
    "rollback": ("ROLLBACK", "0A000"),
    "savepoint": ("SAVEPOINT a", "0A000"),
    "two-phase": ("PREPARE TRANSACTION 'x'", "0A000"),
    "begin": ("BEGIN", "0A000"),
    "vacuum": ("VACUUM member.own", "42501"),
    "checkpoint": ("CHECKPOINT", "42501"),
    "reindex-schema": ("REINDEX SCHEMA member", "42501"),
    "role": ("ALTER ROLE member SUPERUSER", "42501"),
    "grant-role": ("GRANT postgres TO member", "42501"),
    "owner": ("ALTER TABLE member.own OWNER TO postgres", "42501"),
    "rule": ("CREATE RULE r AS ON INSERT TO member.own DO ALSO SELECT member.spy(1)", "42501"),
    "policy": ("CREATE POLICY p ON member.own USING (member.spy(id))", "42501"),
    "view": ("CREATE VIEW member.v AS SELECT 1", "42501"),
    "schema": ("CREATE SCHEMA AUTHORIZATION member", "42501"),
    "default-privileges": ("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC", "42501"),
    "reassign": ("REASSIGN OWNED BY member TO stranger", "42501"),
    "drop-owned": ("DROP OWNED BY member", "42501"),
    "security-label": ("COMMENT ON TABLE member.own IS 'x'", "42501"),
    "anchor": ("DO $x$BEGIN EXECUTE (SELECT 'DROP DOMAIN webhook.' || typname FROM pg_type WHERE typname ~ '^owner_' LIMIT 1); END$x$", "42501"),
    "do": ("DO $x$BEGIN PERFORM member.spy(1); END$x$", None),
    "call": ("CALL member.call()", None),
    "call-commit": ("CALL member.commit()", "2D000"),
    "terminate": ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'", "42501"),
    "reload": ("SELECT pg_reload_conf()", "42501"),
    "file": ("SELECT pg_read_file('PG_VERSION')", "42501"),
    "system-table": ("UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = 'member'", "42501"),
    "trusted-guc": ("SET allow_system_table_mods = on", "42501"),
    "replication-role": ("SET session_replication_role = replica", "42501"),
    "private-table": ("SELECT * FROM webhook.secret", "42501"),
    "private-function": ("SELECT webhook.next_id()", "42501"),
    "private-sequence": ("SELECT setval('webhook.delivery_id_seq', 1)", "42501"),
}


@pytest.mark.parametrize("attempt", TRIES)
def test_a_transform_gets_no_further_than_its_owner(stage, attempt):
    """And the writer's transaction goes on as it was: it reads, writes, goes back to its savepoint and commits."""
    statement, refused = TRIES[attempt]
    stage.as_("stranger").execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    statement = statement.replace("%s", stage.as_("stranger").execute("SELECT pg_export_snapshot()").fetchone()[0])
    set_out(stage, f"""
        BEGIN EXECUTE $try${statement}$try$; v := v || '{{"got": "through"}}';
        EXCEPTION WHEN OTHERS THEN v := v || jsonb_build_object('got', SQLSTATE); END;
    """)
    stage.as_("writer").execute("CREATE TABLE writer.private (id int); INSERT INTO writer.private VALUES (1)")
    for who in ("writer", "postgres"):
        session = stage.as_(who)
        session.execute("PREPARE wp AS SELECT id FROM writer.private")
        with session.transaction():
            session.execute("DECLARE wc CURSOR FOR SELECT g FROM generate_series(1, 3) AS g; SAVEPOINT mine")
            assert session.execute("FETCH wc").fetchone() == (1,)
            stage.run(who, WRITE)
            assert session.execute("FETCH wc").fetchone() == (2,)
            assert session.execute("SHOW transaction_read_only").fetchone() == ("off",)
            assert session.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
            stage.run(who, WRITE)
            session.execute("ROLLBACK TO mine")
            stage.run(who, WRITE)
        assert session.execute("EXECUTE wp").fetchone() == (1,)
        session.execute("DEALLOCATE wp")
    got = stage.run("member", "SELECT payload::json ->> 'got' FROM webhook.deliveries").fetchall()
    assert got == [(refused or "through",)] * 2
    assert stage.value("member", "SELECT count(*) FROM member.own") == 2
    assert ("member", "member") in stage.spied()


@pytest.mark.parametrize("statement", ["webhook_delete('hook')", "webhook_update('hook', transform => '-')",
    "webhook_unwatch('hook', 'member.own')",
                                       "webhook_watch('hook', 'member.log')",
                                       "webhook_create('more', 'http://127.0.0.1:9/', 'member.log')",
                                       "webhook_emit('a.b', '{}')", "webhook_invoke('hook', ROW(1))", "webhook_pause('hook')",
                                       "webhook_rotate_secret('hook')", "webhook_preview('hook', 'INSERT', '{}')",
                                       "webhook_replay_all('hook')",
                                       "webhook_update('hook', owner => 'postgres')", "webhook_check()"])
def test_a_transform_that_calls_us(stage, statement):
    """While it runs: nothing ends but its own event, and a loop has an end."""
    set_out(stage, f"BEGIN PERFORM {statement}; EXCEPTION WHEN OTHERS THEN NULL; END;")
    stage.as_("writer").execute("SET statement_timeout = '60s'")
    for who in ("writer", "postgres"):
        stage.run(who, WRITE)
        stage.run(who, WRITE)
    assert stage.value("member", "SELECT count(*) FROM member.own") == 4
    assert stage.value("postgres", "SELECT count(DISTINCT role) FROM webhook.owner_role") == 1
    assert {person for _, person in stage.spied()} == {"member"}


#: How a transform may fail.
FAILURES = ["RAISE EXCEPTION 'x' USING ERRCODE = 'XX000';", "ASSERT false;", "RAISE EXCEPTION 'x' USING ERRCODE = 'P0004';",
            "v := NULL::jsonb || '1'; RAISE EXCEPTION '%', repeat('x', 100000);", "PERFORM 1 / 0;",
            "v := repeat('[', 100000)::jsonb;",
            "PERFORM member.shape(v);", "RAISE EXCEPTION USING MESSAGE = E'a\\nFATAL:  b', DETAIL = '%s%n', HINT = E'\\x01';"]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_transform_that_fails_fails_alone(stage, failure):
    set_out(stage, failure)
    for who in ("writer", "postgres"):
        stage.run(who, WRITE)
    assert stage.value("member", "SELECT count(*) FROM member.own") == 2
    assert stage.value("member", "SELECT count(*) FROM webhook.dead_letters") == 2


LATER = {
    "deferred-trigger": "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON member.log DEFERRABLE INITIALLY DEFERRED"
                        " FOR EACH ROW EXECUTE FUNCTION member.trg()",
    "trigger": "CREATE TRIGGER now AFTER INSERT ON member.log FOR EACH ROW EXECUTE FUNCTION member.trg()",
    "statement-trigger": "CREATE TRIGGER now AFTER INSERT ON member.log EXECUTE FUNCTION member.trg()",
    "rule": "CREATE RULE r AS ON INSERT TO member.log DO ALSO SELECT member.spy(NEW.id)",
    "default": "ALTER TABLE member.log ADD COLUMN d bool DEFAULT member.spy(1)",
    "generated": "ALTER TABLE member.log ADD COLUMN g bool GENERATED ALWAYS AS (member.pure(id)) STORED",
    "index": "CREATE INDEX ON member.log (member.pure(id))",
    "check": "ALTER TABLE member.log ADD CHECK (member.spy(id))",
    "policy": "ALTER TABLE member.log FORCE ROW LEVEL SECURITY; ALTER TABLE member.log ENABLE ROW LEVEL SECURITY;"
              " CREATE POLICY p ON member.log WITH CHECK (member.spy(id))",
    "deferred-key": "ALTER TABLE member.log ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED",
}


@pytest.mark.parametrize("how", LATER)
def test_what_a_transform_writes_runs_nothing_as_the_writer(stage, how):
    """Neither now nor when the writer's transaction ends."""
    set_out(stage, "INSERT INTO member.log (id) VALUES (1);")
    stage.as_("member").execute("""
        CREATE FUNCTION member.trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM member.spy(1); RETURN NULL; END';
        CREATE FUNCTION member.pure(v int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN member.spy(v); END';
    """)
    stage.as_("member").execute(LATER[how])
    for who in ("writer", "postgres"):
        with stage.as_(who).transaction():
            stage.run(who, WRITE)
            stage.run(who, WRITE)
    assert stage.value("member", "SELECT count(*) FROM member.own") == 4
    assert {person for _, person in stage.spied()} == {"member"}


def test_a_cast_that_calls_itself_has_an_end(stage):
    stage.spy("typer")
    stage.as_("member").execute("""
        CREATE TYPE member.kind AS ENUM ('a');
        CREATE FUNCTION member.as_json(v member.kind) RETURNS json LANGUAGE plpgsql AS 'BEGIN RETURN to_json(v); END';
        CREATE CAST (member.kind AS json) WITH FUNCTION member.as_json(member.kind);
        CREATE TABLE member.own (id int, k member.kind); GRANT INSERT ON member.own TO writer;
    """)
    stage.webhook("member", table_name="member.own", events="{INSERT}")
    for who in ("writer", "postgres"):
        stage.run(who, "INSERT INTO member.own VALUES (1, 'a')")
        assert stage.tries("member", "SELECT webhook_invoke('hook', o) FROM member.own AS o") is None
    assert stage.value("member", "SELECT count(*) FROM webhook.deliveries WHERE payload::json #>> '{record,k}' = 'a'") == 5


#: Casts of a user's type to others than json, which somebody's query could take for its own.
OTHER_CASTS = {
    "text-implicit": ("text", "text", "''a''", "IMPLICIT"), "jsonb": ("jsonb", "jsonb", "''1''", "IMPLICIT"),
    "jsonb-assignment": ("jsonb", "jsonb", "''1''", "ASSIGNMENT"), "int": ("int", "int", "1", "IMPLICIT"),
    "uuid": ("uuid", "uuid", "gen_random_uuid()", "IMPLICIT"),
}


@pytest.mark.parametrize("how", OTHER_CASTS)
def test_other_casts_of_a_type_are_not_called(stage, how):
    of, returns, value, context = OTHER_CASTS[how]
    stage.spy("typer")
    stage.as_("typer").execute(f"""
        CREATE TYPE typer.kind AS ENUM ('a');
        CREATE FUNCTION typer.cast_out(v typer.kind) RETURNS {returns} LANGUAGE plpgsql AS 'BEGIN PERFORM typer.spy(1); RETURN {value}; END';
        CREATE CAST (typer.kind AS {of}) WITH FUNCTION typer.cast_out(typer.kind) AS {context};
        CREATE FUNCTION typer.cast_in(v {of}) RETURNS typer.kind LANGUAGE plpgsql AS 'BEGIN PERFORM typer.spy(1); RETURN ''a''; END';
        CREATE CAST ({of} AS typer.kind) WITH FUNCTION typer.cast_in({of}) AS {context};
    """)
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int, k typer.kind, more typer.kind[]); GRANT ALL ON tabler.t TO writer")
    stage.webhook("tabler", table_name="tabler.t", columns="{k,more}", events="{INSERT,UPDATE,DELETE}")
    for who in ("writer", "postgres"):
        stage.run(who, "INSERT INTO tabler.t VALUES (1, 'a', '{a,a}')")
        stage.run(who, "UPDATE tabler.t SET k = NULL, id = id + 1")
        stage.run(who, "DELETE FROM tabler.t")
    for who in ("tabler", "admin", "postgres"):
        stage.run(who, "SELECT * FROM webhook_preview('hook', 'UPDATE', '{\"id\": 1, \"k\": \"a\"}', '{\"id\": 1}')")
    stage.run("tabler", "SELECT webhook_invoke('hook', ROW(1, 'a'::typer.kind))")
    assert stage.spied() == []


#: What belongs to a watched table and holds code of its owner.
OF_THE_TABLE = {
    "default": "ALTER TABLE tabler.t ALTER note SET DEFAULT tabler.spy(1)::text",
    "generated": "ALTER TABLE tabler.t ADD COLUMN g bool GENERATED ALWAYS AS (tabler.pure(id)) STORED",
    "check": "ALTER TABLE tabler.t ADD CHECK (tabler.spy(id)) NOT VALID",
    "index": "CREATE INDEX ON tabler.t (tabler.pure(id))",
    "statistics": "CREATE STATISTICS tabler.s ON (tabler.pure(id)), note FROM tabler.t",
    "policy": "ALTER TABLE tabler.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON tabler.t USING (tabler.spy(id))",
    "select-rule": "CREATE RULE r AS ON UPDATE TO tabler.t DO ALSO SELECT tabler.spy(NEW.id)",
    "partial-index": "CREATE UNIQUE INDEX ON tabler.t (id) WHERE tabler.pure(id)",
}


@pytest.mark.parametrize("how", OF_THE_TABLE)
def test_what_belongs_to_a_table_is_not_evaluated_by_readers(stage, how):
    """Previews, checks, views and invocations look at the table; what its owner has hung on it is not theirs."""
    stage.spy("tabler")
    stage.as_("tabler").execute("""
        CREATE TABLE tabler.t (id int PRIMARY KEY, note text); INSERT INTO tabler.t VALUES (1, 'a');
        CREATE FUNCTION tabler.pure(v int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN tabler.spy(v); END';
    """)
    stage.webhook("tabler", table_name="tabler.t")
    stage.as_("tabler").execute(OF_THE_TABLE[how])
    before = len(stage.spied())
    for who in ("postgres", "admin"):
        for operation, rows in (("INSERT", "'{\"id\": 1}'"), ("UPDATE", "'{\"id\": 1}', '{\"id\": 2}'"),
            ("DELETE", "NULL, '{\"id\": 1}'")):
            stage.run(who, f"SELECT * FROM webhook_preview('hook', '{operation}', {rows})")
        stage.run(who, "SELECT * FROM webhook_check()")
        stage.run(who, "SELECT * FROM webhook.webhooks, webhook.stats")
        stage.run(who, "SELECT webhook_update('hook', url => 'http://127.0.0.1:9/y')")
    assert len(stage.spied()) == before


def test_a_prepared_write_calls_the_transform_of_now(stage):
    set_out(stage)
    for who in ("writer", "postgres"):
        stage.as_(who).execute(f"PREPARE wp AS {WRITE}")
        for _ in range(6):
            stage.as_(who).execute("EXECUTE wp")
    calls = len(stage.spied())
    assert calls == 12
    stage.as_("member").execute("CREATE FUNCTION member.plain(v jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT '{\"plain\": 1}'::jsonb$$")
    stage.run("member", "SELECT webhook_update('hook', transform => 'member.plain(jsonb)')")
    for who in ("writer", "postgres"):
        stage.as_(who).execute("EXECUTE wp")
    assert len(stage.spied()) == calls
    assert stage.value("member", "SELECT count(*) FROM webhook.deliveries WHERE payload = '{\"plain\": 1}'") == 2


@pytest.mark.parametrize("kind", ["SECURITY DEFINER", "SECURITY DEFINER SET search_path = member, pg_temp", "SET role = 'member'",
    "PARALLEL SAFE", "LEAKPROOF"])
def test_options_of_the_transform_are_no_way_out(stage, kind):
    set_out(stage)
    refused = stage.tries("member", f"ALTER FUNCTION member.shape(jsonb) {kind}")
    assert (refused == "42501") == (kind == "LEAKPROOF")
    for who in ("writer", "postgres"):
        stage.run(who, WRITE)
        stage.run(who, WRITE)
    assert stage.value("member", "SELECT count(*) FROM member.own") == 4


def test_a_definers_function_that_writes_takes_nothing_from_its_caller(stage):
    """Whoever calls it chooses the path and the temporary objects; the transform sees neither."""
    set_out(stage, "PERFORM audit(1);")
    stage.as_("member").execute("""
        CREATE FUNCTION member.definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN INSERT INTO member.own VALUES (1); END';
    """)
    stage.spy("nobody")
    nobody = stage.as_("nobody")
    nobody.execute("CREATE FUNCTION nobody.audit(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN nobody.spy(1); END'")
    nobody.execute("CREATE FUNCTION pg_temp.audit(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN nobody.spy(1); END'")
    nobody.execute("SET search_path = nobody, pg_temp, public, pg_catalog")
    stage.run("nobody", "SELECT member.definer()")
    assert ("nobody", "member") not in stage.spied()
