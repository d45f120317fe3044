"""What code of others cannot do where we call it, and what it can: with locks, functions of ours, large objects, the
temporary schema of whoever writes, and with errors that look like the server's."""

import concurrent.futures
import os
import subprocess

import psycopg
import pytest
from psycopg.types.json import Jsonb

from harness import wait_until
from harness.major import MAJOR
from test_foreign_code import bodies, create, owner, transform  # noqa: F401


def failure(db):
    """The error of the one event that there is."""
    [(error,)] = db.rows("SELECT error FROM webhook.deliveries WHERE status = 'dead'")
    return error


# --- statements --------------------------------------------------------------------------------------

#: Statements that lock or change more than rows. All but those that only say something are refused.
STATEMENTS = {
    "LOCK TABLE": "LOCK TABLE {own}.spied",
    "TRUNCATE TABLE": "TRUNCATE {own}.spied",
    "REINDEX": "REINDEX TABLE {own}.things",
    "ANALYZE": "ANALYZE {own}.spied",
    "CLUSTER": "CLUSTER {own}.things USING things_pkey",
    "REFRESH MATERIALIZED VIEW": "REFRESH MATERIALIZED VIEW {own}.seen",
    "COMMENT": "COMMENT ON TABLE {own}.spied IS 'x'",
    "CHECKPOINT": "CHECKPOINT",
    "EXECUTE": "EXECUTE mine",
    "CLOSE CURSOR": "CLOSE mine",
    "UNLISTEN": "UNLISTEN mine",
}

#: Those that are run by an EXPLAIN, which does not ask again.
EXPLAINED = {
    "CREATE TABLE AS": "EXPLAIN ANALYZE CREATE TABLE {own}.made AS SELECT 1",
    "EXECUTE": "EXPLAIN (ANALYZE, VERBOSE) EXECUTE mine",
}


@pytest.mark.parametrize("tag, statement", [*STATEMENTS.items(), *EXPLAINED.items()])
def test_a_statement_that_is_not_about_rows_is_refused(db, owner, receiver, tag, statement):
    """Also where the writer could do it, and where an exception block takes the error back."""
    owner.run("CREATE MATERIALIZED VIEW seen AS SELECT 1 AS id")
    statement = statement.format(own=owner.role).replace("'", "''")
    transform(owner, f"BEGIN EXECUTE '{statement}'; EXCEPTION WHEN OTHERS THEN payload := jsonb_build_object('error', SQLERRM); END;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    for number, session in enumerate((owner.connection, db.connection), 1):
        session.execute("PREPARE mine AS SELECT 2; DECLARE mine CURSOR WITH HOLD FOR SELECT 3")
        with session.transaction():
            session.execute(f"INSERT INTO {owner.role}.things VALUES (%s, 'a')", [number])
            strong = session.execute(
                "SELECT relation::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
                " AND mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ExclusiveLock', 'AccessExclusiveLock')"
            ).fetchall()
            assert strong == []
        session.execute("DEALLOCATE mine; CLOSE mine")
    assert [body["error"] for body in bodies(db)] == [f"cannot execute {tag} within security-restricted operation"] * 2


#: Settings that act as soon as they are set.
ACTING = {"exit_on_error": "on", "seed": "0.5"} | ({"transaction_timeout": "10ms"} if MAJOR >= 17 else {})

#: How they are set. The seed is in no view, and since 16 a function cannot set it for itself.
SETTING = [
    (name, way) for name in ACTING for way in ("SET", "set_config", "pg_settings", "of the function")
    if name != "seed" or way in ("SET", "set_config") or way == "of the function" and MAJOR < 16
]


@pytest.mark.parametrize("name, way", SETTING)
def test_a_setting_that_acts_at_once_is_refused(db, owner, writer, receiver, name, way):
    """The writer's session does not end by it, nor its transaction."""
    value = ACTING[name]
    act = {
        "SET": f"EXECUTE 'SET {name.upper()} = ''{value}'' ';",
        "set_config": f"PERFORM set_config('{name}', '{value}', true);",
        "pg_settings": f"UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}';",
        "of the function": f"EXECUTE 'SELECT {owner.role}.set_and_fail()';",
    }[way]
    transform(owner, f"{act} PERFORM pg_sleep(0.05); PERFORM 1 / 0;")
    if way == "of the function":
        owner.run(f"CREATE FUNCTION set_and_fail() RETURNS int LANGUAGE sql SET {name} = '{value}' AS 'SELECT 1 / 0'")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run("SELECT setseed(0.25)")
    expected = writer.value("SELECT random()")
    writer.run("SELECT setseed(0.25)")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert writer.value("SELECT random()") == expected
    assert f'cannot set parameter "{name}" within security-definer function' in failure(db)
    if name != "seed":
        owner.run(f"CREATE FUNCTION sets() RETURNS text LANGUAGE sql SECURITY DEFINER SET {name} = '{value}' AS $$ SELECT current_setting('{name}') $$")
        assert owner.value("SELECT sets()") == value, "as before"


LIBRARY = """
#include "postgres.h"
#include "catalog/objectaccess.h"
#include "fmgr.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(touch);
PGDLLEXPORT void _PG_init(void);

static object_access_hook_type next;

static void
told(ObjectAccessType access, Oid class, Oid object, int part, void *more)
{
    if (CHAINS && next)
        next(access, class, object, part, more);
}

Datum
touch(PG_FUNCTION_ARGS)
{
    PG_RETURN_VOID();
}

void
_PG_init(void)
{
    next = object_access_hook;
    object_access_hook = told;
}
"""


@pytest.fixture
def library(db, cluster):
    """Makes a library that wants to be told of functions, too, and puts itself in our place when it is loaded."""
    headers = subprocess.check_output([f"{os.environ['PGW_BIN']}/pg_config", "--includedir-server"], text=True).strip()

    def make(name, chains):
        source, library = cluster.folder / f"{name}.c", cluster.folder / f"{name}.so"
        source.write_text(LIBRARY)
        subprocess.check_call(["cc", "-shared", "-fPIC", f"-DCHAINS={int(chains)}", "-I", headers, "-o", library, source])
        db.run(f"CREATE FUNCTION public.{name}() RETURNS void LANGUAGE c AS '{library}', 'touch'")
        return f"PERFORM public.{name}();"

    return make


@pytest.mark.parametrize("chains", [True, False])
def test_a_library_that_a_transform_loads_hides_nothing(db, owner, writer, receiver, library, chains):
    """Whether it tells others what it is told, or not."""
    touch = library(f"{db.name}_told_{chains}".lower(), chains)
    transform(owner, touch)
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writes = f"INSERT INTO {owner.role}.things (id) VALUES (%s)"
    writer.run(writes, 1)
    assert db.rows("SELECT error FROM webhook.deliveries") == [
        (None if chains else "transform {0}.shape(jsonb): a library that was loaded meanwhile hides which functions are called".format(owner.role),)
    ]
    transform(owner, f"{touch} PERFORM pg_advisory_lock(1);")
    for number in (2, 3):
        writer.run(writes, number)
    refused = "SELECT count(*) FROM webhook.deliveries WHERE error ~ 'cannot execute function pg_advisory_lock'"
    assert db.value(refused) == 2
    transform(owner, touch)
    writer.run(writes, 4)
    assert db.value("SELECT error IS NULL AND payload ~ 'transformed' FROM webhook.deliveries ORDER BY id DESC LIMIT 1")
    assert writer.value("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'") == 0


def test_statements_that_are_allowed(db, owner, writer, receiver):
    """Those that leave nothing, and NOTIFY."""
    owner.run("CREATE PROCEDURE done(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$")
    transform(
        owner, f"SET LOCAL work_mem = '4MB'; EXECUTE 'NOTIFY x'; CALL {owner.role}.done(n); DO 'BEGIN END';"
        f" EXECUTE 'SHOW work_mem' INTO t; EXECUTE 'EXPLAIN SELECT 1' INTO t; RESET work_mem;"
        f" FOR t IN SELECT who FROM {owner.role}.spied LOOP n := n + 1; END LOOP;"
        f" OPEN c FOR SELECT 5; FETCH c INTO n; CLOSE c; BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;",
        declare="n int := 0; t text;",
    )
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert bodies(db)[0]["transformed"]


#: Functions of ours, as a transform could call them; all of them are refused but the last two.
OURS = {
    "delete": "webhook_delete('hook')",
    "unwatch": "webhook_unwatch('hook', '{own}.things')",
    "watch": "webhook_watch('hook', '{own}.spied')",
    "update": "webhook_update('hook', transform => '-')",
    "create": "webhook_create('other', 'https://93.184.216.34/', '{own}.spied')",
    "pause": "webhook_pause('hook')",
    "rotate": "webhook_rotate_secret('hook')",
    "test": "webhook_test('hook')",
    "replay all": "webhook_replay_all('hook')",
    "cancel": "webhook_cancel(1)",
    "cancel all": "webhook_cancel_all('hook')",
    "wait": "webhook_wait(1)",
    "stop": "webhook_cancel_job(1)",
    "preview": "webhook_preview('hook', 'INSERT', '{{\"id\": 1}}')",
    "emit": "webhook_emit('a.b', '1')",
    "invoke": "webhook_invoke('plain', ROW(1))",
}


@pytest.mark.parametrize("call", OURS)
def test_functions_of_ours_in_a_transform(db, owner, writer, receiver, call):
    """A webhook that its own transform removes would stay locked until the writer's transaction ends."""
    create(owner, receiver.url("/"), name="plain", table_name=None, events=["a.b"])
    statement = OURS[call].format(own=owner.role)
    transform(owner, f"BEGIN PERFORM public.{statement}; EXCEPTION WHEN OTHERS THEN payload := jsonb_build_object('error', SQLSTATE); END;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    allowed = call in ("emit", "invoke")
    assert [body.get("error") for body in bodies(db) if "transformed" in body] == [None if allowed else "42501"]
    assert len(bodies(db)) == 1 + allowed
    assert owner.rows("SELECT name FROM webhook.webhooks ORDER BY 1") == [("hook",), ("plain",)]


# --- functions of the server -------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["loread(0, 100)", "lowrite(0, '\\x00')", "lo_lseek(0, 0, 0)", "lo_close(0)", "lo_truncate(0, 0)", "0 OPERATOR({own}.##) 100"])
@pytest.mark.parametrize("way", ["an expression", "a query"])
def test_the_large_objects_of_a_session_are_closed_to_a_transform(db, owner, receiver, call, way):
    """By its number code of the session can use an open descriptor with the rights of whoever opened it."""
    call = call.format(own=owner.role)
    statement = {
        "an expression": f"payload := jsonb_build_object('got', {call});",
        "a query": f"SELECT jsonb_build_object('got', x) FROM (SELECT {call}) AS got (x) INTO payload;",
    }[way]
    if call.startswith("0"):
        owner.run("CREATE OPERATOR ## (FUNCTION = loread, LEFTARG = int, RIGHTARG = int)")
    transform(owner, statement)
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    large = db.value("SELECT lo_from_bytea(0, 'secret')")
    with db.connection.transaction():
        assert db.value("SELECT lo_open(%s, x'60000'::int)", large) == 0
        db.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
        assert bytes(db.value("SELECT loread(0, 100)")) == b"secret"
    assert "within security-restricted operation" in failure(db)


@pytest.mark.parametrize("call", ["lo_open({large}, x'20000'::int)", "pg_advisory_unlock_all()", "pg_advisory_unlock(7)", "pg_advisory_lock(8)",
                                  "pg_try_advisory_lock_shared(1, 2)", "setseed(0.5)"])
def test_functions_that_would_leave_something_in_the_session(db, owner, writer, receiver, call):
    large = owner.value("SELECT lo_from_bytea(0, 'own')")
    transform(owner, f"PERFORM {call.format(large=large)};")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run("SELECT pg_advisory_lock(7)")
    locks = "SELECT objid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
    with writer.connection.transaction():
        writer.run("SELECT setseed(0.25)")
        expected = writer.value("SELECT random()")
        writer.run("SELECT setseed(0.25)")
        writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
        assert writer.value("SELECT random()") == expected
        assert writer.rows(locks) == [(7,)]
    name = call.partition("(")[0]
    assert f"cannot execute function {name} within security-restricted operation" in failure(db)


#: Functions that use what a session has open, or leave something there that no rollback takes away.
OF_THE_SESSION = {
    "lo_close", "lo_lseek", "lo_lseek64", "lo_open", "lo_tell", "lo_tell64", "lo_truncate", "lo_truncate64", "loread", "lowrite",
    "pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_all", "pg_advisory_unlock_shared",
    "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "setseed", "pg_backup_start", "pg_backup_stop",
    "pg_copy_logical_replication_slot", "pg_copy_physical_replication_slot", "pg_create_logical_replication_slot",
    "pg_create_physical_replication_slot", "pg_drop_replication_slot", "pg_logical_slot_get_binary_changes",
    "pg_logical_slot_get_changes", "pg_logical_slot_peek_binary_changes", "pg_logical_slot_peek_changes", "pg_replication_origin_session_reset",
    "pg_replication_origin_session_setup", "pg_replication_origin_xact_reset", "pg_replication_origin_xact_setup", "pg_replication_slot_advance",
}

#: Functions that sound like these, and what they do is taken back, only told, or none of the session's.
NOT_OF_THE_SESSION = {
    "lo_creat", "lo_create", "lo_export", "lo_from_bytea", "lo_get", "lo_import", "lo_put", "lo_unlink",
    "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared",
    "pg_get_replication_slots", "pg_replication_origin_session_is_setup", "pg_replication_origin_session_progress",
    "pg_stat_get_replication_slot", "pg_stat_reset_replication_slot", "pg_sync_replication_slots", "binary_upgrade_logical_slot_has_caught_up",
    "pg_stat_get_backend_start", "pg_safe_snapshot_blocking_pids",
    "pg_isolation_test_session_is_blocked", "pg_export_snapshot",  # which the server refuses in a subtransaction
}

#: Writes down which functions of the server are refused. No row, no call: functions are told of before there is one.
PROBE = (
    "FOR f IN SELECT p.oid, p.proname, p.pronargs, p.provariadic, p.proargtypes::oid[] AS types FROM pg_catalog.pg_proc AS p"
    " WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype, 'unknown'::regtype)"
    " AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) AS a (oid) JOIN pg_catalog.pg_type AS t ON t.oid = a.oid"
    "   WHERE t.typtype = 'p' AND t.typname NOT IN ('cstring', 'record'))"
    " LOOP BEGIN"
    " EXECUTE (SELECT format('SELECT pg_catalog.%I(%s) FROM (SELECT %s WHERE random() < 0 OFFSET 0) AS q', f.proname,"
    "   string_agg(CASE WHEN n = f.pronargs AND f.provariadic <> 0 THEN 'VARIADIC ' ELSE '' END || 'a' || n, ', ' ORDER BY n)"
    "     FILTER (WHERE n > 0),"
    "   string_agg(CASE n WHEN 0 THEN '1' ELSE format('NULL::%s AS a%s', pg_catalog.format_type(f.types[n - 1], NULL), n) END, ', '))"
    "   FROM generate_series(LEAST(1, f.pronargs), f.pronargs) AS n);"
    " EXCEPTION WHEN OTHERS THEN"
    " INSERT INTO {own}.found VALUES (f.proname, SQLERRM); END; END LOOP;"
)


def test_every_function_of_the_session_is_refused(db, owner, writer, receiver):
    """Of all that this server has, whatever their arguments; and none sounds like one and is not judged here."""
    owner.run("CREATE TABLE found (name text, error text)")
    transform(owner, PROBE.format(own=owner.role), declare="f record;")
    db.run(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog TO {owner.role}")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert bodies(db)[0]["transformed"]
    found = dict(owner.rows("SELECT name, error FROM found WHERE error LIKE 'cannot execute function %%'"))
    assert set(found) == OF_THE_SESSION
    assert all(error == f"cannot execute function {name} within security-restricted operation" for name, error in found.items())
    others = owner.rows("SELECT DISTINCT name, error FROM found WHERE error NOT LIKE 'cannot execute function %%'")
    assert [row for row in others if "is not unique" not in row[1]] == []
    sounding = db.rows(
        "SELECT DISTINCT proname FROM pg_proc WHERE oid < 16384 AND provolatile = 'v' AND proname ~"
        " '^lo_|^loread|^lowrite|advisory|_slot|backup_st|origin_(session|xact)|session|seed|export|snapshot_export'"
    )
    assert {name for (name,) in sounding} <= OF_THE_SESSION | NOT_OF_THE_SESSION


@pytest.mark.parametrize("call", [
    "pg_create_physical_replication_slot('planted', true, true)", "pg_create_logical_replication_slot('planted', 'pgoutput', true)",
    "pg_copy_physical_replication_slot('mine', 'planted', true)", "pg_drop_replication_slot('mine')",
    "pg_replication_slot_advance('mine', '0/1')", "pg_backup_start('x', true)", "pg_backup_stop()",
    "pg_replication_origin_session_setup('x')", "pg_replication_origin_xact_setup('0/1', now())",
])
def test_replication_and_backups_of_a_session_are_closed_to_a_transform(db, owner, writer, receiver, call):
    """A temporary slot and a backup that has begun are the session's until it ends; a rollback ends neither."""
    name = call.partition("(")[0]
    db.run(f"ALTER ROLE {owner.role} REPLICATION")
    for (grant,) in db.rows("SELECT format('GRANT EXECUTE ON FUNCTION %%s TO %%I', oid::regprocedure, %s::text) FROM pg_proc WHERE proname = %s", owner.role, name):
        db.run(grant)
    mine = f"mine_{owner.role}"
    db.run("SELECT pg_create_physical_replication_slot(%s, true, true)", mine)
    transform(owner, f"PERFORM {call.replace('mine', mine).replace('planted', 'planted_' + owner.role)};")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    for number, session in enumerate((writer, db), 1):
        session.run(f"INSERT INTO {owner.role}.things VALUES (%s, 'a')", number)
    slots = db.rows("SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE %s", f"%{owner.role}")
    assert slots == [(mine,)]
    errors = db.rows("SELECT error FROM webhook.deliveries WHERE status = 'dead'")
    assert len(errors) == 2
    assert all(f"cannot execute function {name} within security-restricted operation" in error for (error,) in errors)


def test_functions_that_take_back_what_they_do(db, owner, writer, receiver):
    """Large objects by their number, and advisory locks of the transaction."""
    transform(
        owner, "large := lo_from_bytea(0, 'abc'); PERFORM lo_put(large, 0, 'x');"
        " payload := jsonb_build_object('got', convert_from(lo_get(large), 'UTF8')); PERFORM lo_unlink(large);"
        " PERFORM pg_advisory_xact_lock(42);", declare="large oid;",
    )
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert bodies(db)[0]["got"] == "xbc"
    # What runs afterwards is as free as before.
    assert writer.value("SELECT pg_try_advisory_lock(8)")


# --- cursors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine", "<unnamed>"])
@pytest.mark.parametrize("attempt", ["FETCH", "UPDATE"])
def test_no_cursor_of_the_session_is_of_use_to_a_transform(db, owner, receiver, name, attempt):
    """Whatever it is called, and be it only for the row that it is at."""
    statement = {
        "FETCH": "FETCH c INTO t;",
        "UPDATE": f"EXECUTE 'UPDATE {owner.role}.spied SET who = ''hit'' WHERE CURRENT OF \"{name}\"';",
    }[attempt]
    transform(owner, f"c := '{name}'; {statement}", declare="t text;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    db.run(f"INSERT INTO {owner.role}.spied VALUES ('first'), ('second')")
    with db.connection.transaction():
        db.run(f'DECLARE "{name}" CURSOR FOR SELECT who FROM {owner.role}.spied FOR UPDATE')
        assert db.value(f'FETCH "{name}"') == "first"
        db.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
        assert db.value(f'FETCH "{name}"') == "second"
    assert owner.rows("SELECT who FROM spied ORDER BY 1") == [("first",), ("second",)]
    assert {"FETCH": f'portal "{name}" cannot be run', "UPDATE": "is not positioned on a row"}[attempt] in failure(db)


def test_a_cursor_of_a_transform_is_closed_whatever_it_is_called(db, owner, writer, receiver):
    transform(owner, "c := '<unnamed>'; OPEN c FOR SELECT 1;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    with writer.connection.transaction():
        writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
        assert writer.rows("SELECT name FROM pg_cursors WHERE name = '<unnamed>'") == []
    assert bodies(db)[0]["transformed"]


#: How PL/pgSQL of the session's goes through rows with a cursor that it keeps open, more of them than it fetches at once.
LOOPS = {
    "a query": "FOR r IN SELECT n FROM generate_series(1, 120) AS n LOOP {insert} END LOOP;",
    "a text": "FOR r IN EXECUTE 'SELECT n FROM generate_series(1, 120) AS n' LOOP {insert} END LOOP;",
    "a bound cursor": "FOR r IN bound LOOP {insert} END LOOP;",
    "a cursor": "OPEN c FOR SELECT n FROM generate_series(1, 120) AS n; LOOP FETCH c INTO r; EXIT WHEN NOT FOUND; {insert} END LOOP; CLOSE c;",
    "a loop in a loop": "FOR q IN SELECT n FROM generate_series(0, 1) AS n LOOP FOR r IN SELECT n + 60 * q.n AS n FROM generate_series(1, 60) AS n"
                        " LOOP {insert} END LOOP; END LOOP;",
    "a loop that commits": "FOR r IN SELECT n FROM generate_series(1, 120) AS n LOOP {insert} COMMIT; END LOOP;",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", ["works", "fails"])
def test_a_loop_of_the_session_goes_on(db, owner, writer, receiver, loop, end):
    """Its cursor is pinned, and neither used up nor closed by a transform that loops itself, catches an error and fails."""
    own = f"FOR n IN SELECT x FROM generate_series(1, 70) AS x LOOP t := t + n; END LOOP; BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;"
    fail = "OPEN c FOR SELECT 1; PERFORM 1 / 0;" if end == "fails" else ""
    transform(owner, f"{own} payload := payload || jsonb_build_object('t', t); {fail}", declare="n int; t int := 0;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run("CREATE TABLE seen (n int)")
    insert = f"INSERT INTO {owner.role}.things VALUES (r.n, 'a'); INSERT INTO {writer.role}.seen VALUES (r.n);"
    writer.run(
        f"DO $$ DECLARE r record; q record; c refcursor; bound CURSOR FOR SELECT n FROM generate_series(1, 120) AS n;"
        f" BEGIN {LOOPS[loop].format(insert=insert)} END $$"
    )
    assert writer.rows("SELECT count(*), count(DISTINCT n), sum(n) FROM seen") == [(120, 120, 7260)]
    assert db.value(f"SELECT count(*) FROM {owner.role}.things") == 120
    failed = db.value("SELECT count(*) FROM webhook.deliveries WHERE status = 'dead'")
    assert failed == (120 if end == "fails" else 0) and len(bodies(db)) == 120
    assert end == "fails" or all(body["t"] == 2485 for body in bodies(db))
    assert writer.value("SELECT count(*) FROM pg_cursors WHERE name <> ''") == 0


# --- the temporary schema ----------------------------------------------------------------------------

#: What a writer makes to get into a transform that says `spied` or `text`, and how that sets its path.
PLANTED = {
    "a table": (
        "CREATE TEMP TABLE spied (who text); GRANT ALL ON spied TO PUBLIC;"
        " CREATE TRIGGER t BEFORE INSERT ON spied FOR EACH ROW EXECUTE FUNCTION {evil}.fire()"
    ),
    "a view": (
        "CREATE TEMP VIEW spied AS SELECT ''::text AS who WHERE {evil}.check_it('x'); GRANT ALL ON spied TO PUBLIC;"
        " CREATE TRIGGER t INSTEAD OF INSERT ON spied FOR EACH ROW EXECUTE FUNCTION {evil}.fire()"
    ),
    "a type": "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK ({evil}.check_it(VALUE))",
}


@pytest.mark.parametrize("path", ["{own}", "''", "pg_catalog, {own}"])
@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("where", ["a transform", "a function that it calls", "a cast"])
def test_nothing_of_a_writers_temporary_schema_comes_first(db, owner, writer, receiver, planted, path, where):
    """Whatever `search_path` a function has, and although PostgreSQL looks there first unless it says otherwise."""
    writer.run("CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC")
    note = f"INSERT INTO {writer.role}.ran VALUES (current_user);"
    writer.run(f"CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {note} RETURN NEW; END $$")
    writer.run(f"CREATE FUNCTION check_it(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {note} RETURN true; END $$")
    table = "spied" if "own" in path else f"{owner.role}.spied"
    body = f"v := 'x'; INSERT INTO {table} VALUES (v || ''::text);"
    tail = f"SET search_path = {path.format(own=owner.role)}"
    if where == "a transform":
        transform(owner, body, declare="v text;", tail=tail)
    elif where == "a function that it calls":
        owner.run(f"CREATE FUNCTION inner_one() RETURNS void LANGUAGE plpgsql {tail} AS $$ DECLARE v text; BEGIN {body} END $$")
        transform(owner, f"PERFORM {owner.role}.inner_one();")
    table, value = "things", "'a'"
    settings = {"transform": f"{owner.role}.shape(jsonb)"}
    if where == "a cast":
        owner.run("CREATE TYPE mood AS ENUM ('a')")
        owner.run(
            f"CREATE FUNCTION as_json(m {owner.role}.mood) RETURNS json LANGUAGE plpgsql {tail} AS"
            f" $$ DECLARE v text; BEGIN {body} RETURN '1'; END $$"
        )
        owner.run("CREATE CAST (mood AS json) WITH FUNCTION as_json(mood)")
        owner.run("CREATE TABLE felt (id int, m mood); GRANT INSERT ON felt TO PUBLIC")
        table, settings = "felt", {"table_name": f"{owner.role}.felt"}
    create(owner, receiver.url("/"), **settings)
    for statement in PLANTED[planted].format(evil=writer.role).split("; "):
        writer.run(statement)
    writer.run(f"INSERT INTO {owner.role}.{table} VALUES (1, {value})")
    assert db.rows(f"SELECT who FROM {writer.role}.ran") == []
    assert ("x",) in owner.rows("SELECT who FROM spied")


@pytest.mark.parametrize("path", ["", "SET search_path = pg_catalog, pg_temp", "SET search_path = ''"])
def test_a_call_of_the_writers_own_does_not_prepare_the_transform(db, owner, writer, receiver, path):
    """PL/pgSQL keeps for the session what the types of a function's variables have meant."""
    writer.run("CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC")
    writer.run(
        f"CREATE FUNCTION check_it(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS"
        f" $$ BEGIN INSERT INTO {writer.role}.ran VALUES (current_user); RETURN true; END $$"
    )
    transform(owner, "v := 'x';", declare="v text;", tail=path)
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run(f"CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK ({writer.role}.check_it(VALUE))")
    owner.run("GRANT INSERT ON spied TO PUBLIC")
    writer.run(f"SELECT {owner.role}.shape('{{}}')")
    assert (path == "SET search_path = pg_catalog, pg_temp") == (db.rows(f"TABLE {writer.role}.ran") == [])
    db.run(f"TRUNCATE {writer.role}.ran")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert bodies(db)[0]["transformed"]
    assert db.rows(f"TABLE {writer.role}.ran") == []


def parallel(session):
    """Have it run in another process whatever may."""
    names = session.value("SELECT string_agg(name, ',') FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')")
    session.run(f"SET {names} = on")


def told(session):
    """What it is told from now on."""
    notices = []
    session.connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    return notices


@pytest.mark.parametrize("what", ["planned now", "planned before", "with settings of its own"])
def test_no_other_process_runs_what_code_of_others_asks_for(db, owner, writer, receiver, what):
    """A parallel worker has the owner's rights and the writer's temporary schema, and nobody there asks us."""
    parallel(writer)
    tail = "SET max_parallel_workers_per_gather = 4" if what == "with settings of its own" else ""
    owner.run(
        f"CREATE FUNCTION inner_one() RETURNS void LANGUAGE plpgsql PARALLEL SAFE SET search_path = '' {tail} AS $$"
        " DECLARE v text; BEGIN v := 'x'; RAISE NOTICE 'in % on %', pg_backend_pid(), make_date(2024, 2, 1); END $$"
    )
    transform(owner, f"PERFORM {owner.role}.inner_one();", tail="SET plan_cache_mode = force_generic_plan")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    here = f"in {writer.connection.info.backend_pid} on "
    notices = told(writer)
    writer.run("SET DateStyle = 'SQL, DMY'")
    if what == "planned before":
        owner.run("GRANT INSERT ON spied TO PUBLIC")
        writer.run(f"SELECT {owner.role}.shape('{{}}')")
        assert notices and not notices.pop().startswith(here), "the writer's own call has a parallel worker"
    writer.run(
        "CREATE FUNCTION check_it(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE AS"
        " $$ BEGIN RAISE NOTICE 'as %', current_user; RETURN true; END $$"
    )
    writer.run(f"CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK ({writer.role}.check_it(VALUE))")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert bodies(db)[0]["transformed"]
    assert notices == [f"{here}2024-02-01"]
    assert writer.value("SHOW max_parallel_workers") == db.value("SHOW max_parallel_workers") != "0"


@pytest.mark.parametrize("how", ["SET max_parallel_workers = 8", "RESET max_parallel_workers", "RESET ALL"])
def test_code_of_others_cannot_ask_for_other_processes(db, owner, writer, receiver, how):
    parallel(writer)
    writer.run("SET max_parallel_workers = 4")
    transform(owner, f"EXECUTE '{how}';")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert "within security-" in failure(db)
    assert writer.value("SHOW max_parallel_workers") == "4"


# --- errors that look like the server's --------------------------------------------------------------


@pytest.mark.parametrize("code", ["40001", "40P01", "40003", "57014", "57P01", "57P05", "53100", "53200", "XX000", "XX001", "P0004"])
@pytest.mark.parametrize("way", ["raise", "raise again", "in a nested event"])
def test_an_error_that_looks_like_the_servers_is_an_error(db, owner, writer, receiver, code, way):
    """A dead letter, and not an error of the writer."""
    raised = f"RAISE EXCEPTION 'looks like it' USING ERRCODE = '{code}';"
    if way == "raise again":
        name = {"40001": "serialization_failure", "40P01": "deadlock_detected", "57014": "query_canceled"}.get(code)
        raised = f"BEGIN {raised} EXCEPTION WHEN {name or 'SQLSTATE ' + repr(code)} THEN RAISE; END;"
    if way == "in a nested event":
        owner.run("CREATE TABLE more (id int)")
        raised = f"IF payload->>'table' = 'things' THEN INSERT INTO {owner.role}.more VALUES (1); ELSE {raised} END IF;"
    transform(owner, raised)
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)", on_transform_error="dead")
    if way == "in a nested event":
        create(owner, receiver.url("/"), name="more", table_name=f"{owner.role}.more", transform=f"{owner.role}.shape(jsonb)")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert owner.value("SELECT count(*) FROM things") == 1
    assert "looks like it" in failure(db)


def test_a_transform_can_keep_a_cancel_from_the_statement(db, owner, writer, receiver):
    """As any function can that catches it by its name."""
    transform(owner, "BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    writer.run("SET statement_timeout = '300ms'")
    writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert bodies(db)[0]["transformed"]


def test_a_real_deadlock_is_the_statements(db, owner, writer, receiver, cluster):
    """It would have to be repeated anyway; a row in both tables, and each session waits for the other."""
    owner.run("CREATE TABLE rows (id int PRIMARY KEY); INSERT INTO rows VALUES (1), (2); GRANT UPDATE, SELECT ON rows TO PUBLIC")
    transform(owner, f"UPDATE {owner.role}.rows SET id = id WHERE id = 2;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    with cluster.connect(db.name) as other, concurrent.futures.ThreadPoolExecutor() as pool:
        other.execute("SET deadlock_timeout = '60s'")
        db.run(f"ALTER ROLE {writer.role} SET deadlock_timeout = '100ms'")
        with cluster.connect(db.name, user=writer.role) as mine:
            mine.autocommit = other.autocommit = True
            mine.execute("BEGIN"), other.execute("BEGIN")
            mine.execute(f"UPDATE {owner.role}.rows SET id = id WHERE id = 1")
            other.execute(f"UPDATE {owner.role}.rows SET id = id WHERE id = 2")
            waits = pool.submit(other.execute, f"UPDATE {owner.role}.rows SET id = id WHERE id = 1")
            wait_until(lambda: db.value("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, "the other waits")
            with pytest.raises(psycopg.errors.DeadlockDetected):
                mine.execute(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
            mine.execute("ROLLBACK")
            waits.result(10)
            other.execute("ROLLBACK")
    assert db.value("SELECT count(*) FROM webhook.deliveries") == 0


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_real_serialization_failure_is_the_statements(db, owner, writer, receiver, level):
    owner.run("CREATE TABLE rows (id int PRIMARY KEY, n int); INSERT INTO rows VALUES (1, 1)")
    transform(owner, f"UPDATE {owner.role}.rows SET n = n + 1;")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    with pytest.raises(psycopg.errors.SerializationFailure), writer.connection.transaction():
        writer.run(f"SET TRANSACTION ISOLATION LEVEL {level}")
        writer.run("SELECT 1")
        owner.run("UPDATE rows SET n = n + 1")
        writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
    assert db.value("SELECT count(*) FROM webhook.deliveries") == 0


# --- previews ----------------------------------------------------------------------------------------

#: How code of {dev} gets into a row of table felt(id int, c {type}) or into a condition over it.
STRANGE = {
    "a range over a domain": (
        "CREATE DOMAIN {dev}.checked AS int CHECK ({dev}.spy(VALUE)); CREATE TYPE {dev}.span AS RANGE (subtype = {dev}.checked)",
        "{dev}.span", "[1,2)", None),
    "a multirange over a domain": (
        "CREATE DOMAIN {dev}.checked AS int CHECK ({dev}.spy(VALUE)); CREATE TYPE {dev}.span AS RANGE"
        " (subtype = {dev}.checked, multirange_type_name = {dev}.spans)",
        "{dev}.spans", "{[1,2)}", None),
    "a domain that a condition casts to": (
        "CREATE DOMAIN {dev}.checked AS int CHECK ({dev}.spy(VALUE))", "int", 1, "(NEW.c::{dev}.checked)::int > 0"),
    "a cast in a condition": (
        "CREATE TYPE {dev}.pair AS (n int); CREATE FUNCTION {dev}.made(int) RETURNS {dev}.pair LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO {dev}.ran VALUES (current_user); RETURN ROW(1); END $$;"
        " CREATE CAST (int AS {dev}.pair) WITH FUNCTION {dev}.made(int)", "int", 1, "(NEW.c::{dev}.pair) IS NOT NULL"),
    "a domain that a check casts to": (
        "CREATE DOMAIN {dev}.inside AS int CHECK ({dev}.spy(VALUE));"
        " CREATE DOMAIN {dev}.checked AS int CHECK (VALUE::{dev}.inside > 0)", "{dev}.checked", 1, None),
    "a function written in SQL": (
        "CREATE FUNCTION {dev}.inlined(v int) RETURNS boolean LANGUAGE sql AS"
        " $$ SELECT pg_catalog.pg_notify('spied', current_user::text || $1) IS NULL $$;"
        " CREATE DOMAIN {dev}.checked AS int CHECK ({dev}.inlined(VALUE) IS NOT NULL)", "{dev}.checked", 1, None),
    "a function with a setting": (
        "ALTER FUNCTION {dev}.spy SET work_mem = '4MB'", "int", 1, "{dev}.spy(NEW.c)"),
    "a function that runs as who has made it": ("ALTER FUNCTION {dev}.spy SECURITY DEFINER", "int", 1, "{dev}.spy(NEW.c)"),
    "a cast with a setting": (
        "CREATE TYPE {dev}.pair AS (n int); CREATE FUNCTION {dev}.made(int) RETURNS {dev}.pair LANGUAGE plpgsql SET work_mem = '4MB' AS"
        " $$ BEGIN INSERT INTO {dev}.ran VALUES (current_user); RETURN ROW(1); END $$;"
        " CREATE CAST (int AS {dev}.pair) WITH FUNCTION {dev}.made(int)", "int", 1, "(NEW.c::{dev}.pair) IS NOT NULL"),
    "an operator with a setting": (
        "ALTER FUNCTION {dev}.spy SET work_mem = '4MB'; CREATE OPERATOR {dev}.!! (FUNCTION = {dev}.spy, RIGHTARG = int)",
        "int", 1, "OPERATOR({dev}.!!) NEW.c"),
    "functions of the server": (
        "CREATE DOMAIN {dev}.checked AS int CHECK (pg_catalog.pg_notify('spied', current_user::text) IS NOT NULL)",
        "{dev}.checked", 1, None),
}


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("part", STRANGE)
def test_a_preview_runs_nothing_of_strangers(db, people, owner, receiver, part, warm):
    """However it gets there, and also where the session has used it before."""
    dev = people("dev")
    dev.run("CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC")
    dev.run(f"CREATE FUNCTION spy(v int) RETURNS boolean LANGUAGE plpgsql AS"
            f" $$ BEGIN INSERT INTO {dev.role}.ran VALUES (current_user); RETURN true; END $$")
    make, type, value, condition = STRANGE[part]
    dev.connection.execute(make.replace("{dev}", dev.role))
    type, condition = type.format(dev=dev.role), condition and condition.format(dev=dev.role)
    owner.run(f"CREATE TABLE felt (id int PRIMARY KEY, c {type})")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"], condition=condition)
    if warm:
        owner.run(f"SELECT %s::text::{type}", str(value)) if condition is None else owner.run("INSERT INTO felt VALUES (1, 1)")
    db.run(f"TRUNCATE {dev.role}.ran")
    dev.run("LISTEN spied")
    row = Jsonb({"id": 2, "c": value})
    for session in (owner.connection, db.connection):
        reason, body = session.execute("SELECT reason, body FROM webhook_preview('hook', 'INSERT', %s)", [row]).fetchone()
        assert body is None and dev.role in reason
    assert db.rows(f"SELECT who FROM {dev.role}.ran") == []
    assert list(dev.connection.notifies(timeout=0.2)) == []


@pytest.mark.parametrize("options", ["", "SET work_mem = '4MB'"])
def test_a_preview_judges_what_the_transaction_has_called_before(db, people, owner, receiver, options):
    """PL/pgSQL keeps what it calls ready until the transaction ends."""
    dev = people("dev")
    dev.run("CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC")
    dev.run(f"CREATE FUNCTION spy(v int) RETURNS boolean LANGUAGE plpgsql {options} AS"
            f" $$ BEGIN INSERT INTO {dev.role}.ran VALUES (current_user); RETURN true; END $$")
    owner.run(f"CREATE FUNCTION through(v int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN {dev.role}.spy(v); END'")
    owner.run("CREATE TABLE felt (id int PRIMARY KEY)")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"], condition=f"{owner.role}.through(NEW.id)")
    schema = db.value("SELECT pronamespace::regnamespace FROM pg_proc WHERE proname = 'webhook_preview'")
    with owner.connection.transaction():
        owner.run("SET LOCAL search_path = pg_catalog, pg_temp")
        owner.run(f"SELECT {owner.role}.through(1)")
        reason, body = owner.run(f"SELECT reason, body FROM {schema}.webhook_preview('hook', 'INSERT', jsonb_build_object('id', 1))").fetchone()
    assert body is None and dev.role in reason
    assert db.rows(f"SELECT who FROM {dev.role}.ran") == [(owner.role,)]


@pytest.mark.parametrize("check", ["VALUE > 0", "VALUE::text ~ '^[0-9]+$' AND VALUE <> ALL ('{{5,6}}')", "abs(VALUE) BETWEEN 1 AND 5"])
def test_a_preview_takes_plain_checks_of_strangers(db, people, owner, receiver, check):
    """They can do nothing but look at the value."""
    dev = people("dev")
    dev.run(f"CREATE DOMAIN checked AS int CHECK ({check.replace('{{', '{').replace('}}', '}')}); CREATE TYPE span AS RANGE (subtype = checked)")
    owner.run(f"CREATE TABLE felt (id int PRIMARY KEY, c {dev.role}.checked, r {dev.role}.span)")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"])
    row = Jsonb({"id": 2, "c": 3, "r": "[1,3)"})
    reason, body = owner.run("SELECT reason, body FROM webhook_preview('hook', 'INSERT', %s)", row).fetchone()
    assert reason is None and '"r": "[1,3)"' in body.replace('":"', '": "')


#: What a stranger adds to a check in the moment that a preview looks at a row: a function of its own, or of the server.
ADDED = {
    "own": "{dev}.spy(VALUE)",
    "setval": "pg_catalog.setval('{own}.numbers', 77) IS NOT NULL",
    "pg_notify": "pg_catalog.pg_notify('spied', 'x') IS NULL",
    "query_to_xml": "pg_catalog.query_to_xml('SELECT pg_catalog.setval(''{own}.numbers'', 77)', true, true, '') IS NOT NULL",
    "table_to_xml": "pg_catalog.table_to_xml('{dev}.acts', true, true, '') IS NOT NULL",
}


@pytest.mark.parametrize("added", ADDED)
def test_a_check_that_is_added_meanwhile_is_judged_when_it_is_called(db, people, owner, receiver, cluster, added):
    """The owner's own check waits, and meanwhile the stranger changes what comes after it."""
    dev = people("dev")
    dev.run("CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC; CREATE DOMAIN later AS int")
    dev.run(f"CREATE FUNCTION spy(v int) RETURNS boolean LANGUAGE plpgsql AS"
            f" $$ BEGIN INSERT INTO {dev.role}.ran VALUES (current_user); RETURN true; END $$")
    owner.run("CREATE TABLE gate (id int); INSERT INTO gate VALUES (1)")
    owner.run(f"CREATE FUNCTION wait(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM {owner.role}.gate FOR UPDATE; RETURN true; END $$")
    owner.run("CREATE DOMAIN slow AS int CHECK (wait(VALUE))")
    owner.run(f"CREATE TABLE felt (id slow, c {dev.role}.later)")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"])
    dev.run("CREATE VIEW acts AS SELECT pg_catalog.pg_notify('spied', 'x') IS NULL AS told; GRANT SELECT ON acts TO PUBLIC")
    dev.run("LISTEN spied")
    with cluster.connect(db.name, autocommit=False) as gate, concurrent.futures.ThreadPoolExecutor() as pool:
        gate.execute(f"SELECT FROM {owner.role}.gate FOR UPDATE")
        preview = pool.submit(owner.value, "SELECT reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 1, \"c\": 1}')")
        wait_until(lambda: db.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the preview waits")
        check = ADDED[added].replace("{own}", owner.role).replace("{dev}", dev.role)
        dev.run(f"ALTER DOMAIN later ADD CHECK ({check}) NOT VALID")
        gate.rollback()
        reason = preview.result(20)
    assert db.rows(f"SELECT who FROM {dev.role}.ran") == []
    assert not db.value(f"SELECT is_called FROM {owner.role}.numbers")
    assert list(dev.connection.notifies(timeout=0.2)) == []
    assert (f"of role {dev.role}" if added == "own" else f"function {added} would be called") in reason


#: Functions that are VOLATILE and do nothing to anything.
HARMLESS = {
    "array_sample", "array_shuffle", "clock_timestamp", "gen_random_uuid", "pg_sleep", "pg_sleep_for", "pg_sleep_until",
    "random", "random_normal", "timeofday", "uuidv4", "uuidv7",
}

#: Functions that run a query that somebody else has written, although they are not VOLATILE.
RUNNING = {f"{what}_to_{form}" for what in ("database", "schema", "table") for form in ("xml", "xmlschema", "xml_and_xmlschema")}


def test_a_preview_calls_nothing_of_the_server_that_acts(db, owner, receiver):
    """Of all that this server has: what is VOLATILE, and what runs a query or has a text run as one."""
    owner.run("CREATE TABLE found (name text, error text); CREATE TABLE felt (id int PRIMARY KEY)")
    owner.run(f"CREATE FUNCTION probe(v int) RETURNS boolean LANGUAGE plpgsql AS"
              f" $$ DECLARE f record; BEGIN {PROBE.format(own=owner.role)} RETURN true; END $$")
    db.run(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog TO {owner.role}")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"], condition=f"{owner.role}.probe(NEW.id)")
    assert owner.value("SELECT reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')") is None
    refused = {name for (name,) in owner.rows("SELECT name FROM found WHERE error LIKE '%%would be called%%' OR error LIKE 'cannot execute function%%'")}
    acting = {name for (name,) in db.rows(
        "SELECT proname FROM pg_proc WHERE oid < 16384 AND prokind = 'f' AND provolatile = 'v'"
        " AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)"
        " AND NOT EXISTS (SELECT FROM unnest(proargtypes) AS a (oid) JOIN pg_type AS t ON t.oid = a.oid"
        "   WHERE t.typtype = 'p' AND t.typname NOT IN ('cstring', 'record'))"
    )}
    of_text = {name for (name,) in db.rows(
        "SELECT proname FROM pg_proc WHERE oid < 16384 AND proargnames[:pronargs] && ARRAY['query', 'sqlquery', 'cursor', 'tbl']"
        " OR oid < 16384 AND proname IN ('ts_rewrite', 'ts_stat')"
    )}
    assert of_text <= refused and {"query_to_xml", "cursor_to_xml", "ts_stat", "ts_rewrite", "table_to_xml"} <= of_text
    assert refused == acting - HARMLESS | RUNNING


def test_a_preview_takes_what_is_volatile_and_does_nothing(owner, receiver):
    """A sample, the time, an id."""
    owner.run("CREATE TABLE felt (id int PRIMARY KEY, at timestamptz)")
    condition = "random() >= 0 AND NEW.at < clock_timestamp() AND gen_random_uuid() IS NOT NULL AND pg_sleep(0) IS NOT NULL"
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"], condition=condition)
    row = '{"id": 1, "at": "2020-01-01"}'
    assert owner.rows("SELECT reason, body IS NOT NULL FROM webhook_preview('hook', 'INSERT', %s)", row) == [(None, True)]


@pytest.mark.parametrize("how", ["INSERT", "emit"])
def test_a_real_serialization_failure_is_the_statements(db, people, owner, writer, receiver, cluster, how):
    """Whatever the webhook says of errors, and whoever writes or emits: in a transaction that keeps a snapshot, a transform
    changes a row that its owner has changed since. In one that reads what is there now, it does."""
    owner.run("CREATE TABLE rows (id int PRIMARY KEY); INSERT INTO rows VALUES (1)")
    transform(owner, f"UPDATE {owner.role}.rows SET id = id;")
    create(
        owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)", on_transform_error="dead", events=["INSERT", "a.*"],
    )
    who = writer if how == "INSERT" else people("app", member_of=[owner])
    statement = f"INSERT INTO {owner.role}.things VALUES (1, 'a')" if how == "INSERT" else "SELECT webhook_emit('a.b', '1')"
    for level in ("REPEATABLE READ", "SERIALIZABLE", "READ COMMITTED"):
        who.run(f"BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM {owner.role}.things")
        owner.run("UPDATE rows SET id = id")
        if level == "READ COMMITTED":
            who.run(f"{statement}; COMMIT")
        else:
            with pytest.raises(psycopg.errors.SerializationFailure):
                who.run(statement)
            who.run("ROLLBACK")
    [body] = bodies(db)
    assert body["transformed"]
