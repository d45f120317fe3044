"""Code of others that capture calls: as whom it runs, and what it leaves in the session of whoever writes."""

import json

import psycopg
import pytest

from harness.people import rights, state


@pytest.fixture
def owner(people):
    """A member with a table that others write to, and a table where its code notes who runs it."""
    person = people("own", "member")
    person.run("CREATE TABLE things (id int PRIMARY KEY, note text); GRANT SELECT, INSERT, UPDATE ON things TO PUBLIC")
    person.run("CREATE TABLE spied (who text)")
    person.run("CREATE SEQUENCE numbers")
    return person


def transform(owner, body, declare="", tail=""):
    owner.run(
        f"CREATE OR REPLACE FUNCTION {owner.role}.shape(payload jsonb) RETURNS jsonb LANGUAGE plpgsql {tail} AS"
        f" $$ DECLARE c refcursor; {declare} BEGIN INSERT INTO {owner.role}.spied VALUES (current_user);"
        f" {body} RETURN payload || '{{\"transformed\": true}}'; END $$"
    )


def create(owner, url, **settings):
    named = {"name": "hook", "url": url, "table_name": f"{owner.role}.things", **settings}
    casts = {"events": "::text[]", "emitters": "::regrole[]", "columns": "::text[]"}
    arguments = ", ".join(f"{key} => %({key})s{casts.get(key, '')}" for key in named)
    return owner.connection.execute(f"SELECT webhook_create({arguments})", named).fetchone()


def bodies(db):
    return [json.loads(body) for (body,) in db.rows("SELECT payload FROM webhook.deliveries ORDER BY id")]


# What a function can try to leave behind. What is refused makes a dead letter; what is not is undone.
TRACES = {
    "set_config for the session": "PERFORM set_config('search_path', 'evil, pg_catalog', false);",
    "set_config for the transaction": "PERFORM set_config('search_path', 'evil, pg_catalog', true);",
    "capture off": "PERFORM set_config('pg_webhook.capture', 'off', false);",
    "set a limit": "SET statement_timeout = '1ms'; SET LOCAL lock_timeout = '1ms';",
    "set the time zone": "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET bytea_output = 'escape';",
    "set a role's default": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;",
    "make the transaction read only": "PERFORM set_config('default_transaction_read_only', 'on', false);",
    "reset": "RESET application_name; RESET work_mem;",
    "role": "SET ROLE NONE;",
    "role by a function": "PERFORM set_config('role', 'postgres', false);",
    "session authorization": "SET SESSION AUTHORIZATION DEFAULT;",
    "prepare": "EXECUTE 'PREPARE planted AS SELECT 1';",
    "deallocate": "EXECUTE 'DEALLOCATE ALL';",
    "held cursor": "EXECUTE 'DECLARE planted CURSOR WITH HOLD FOR SELECT 1';",
    "cursor": "EXECUTE 'DECLARE planted CURSOR FOR SELECT 1';",
    "refcursor": "c := 'planted'; OPEN c FOR SELECT 1;",
    "close": "EXECUTE 'CLOSE ALL';",
    "listen": "EXECUTE 'LISTEN planted';",
    "unlisten": "EXECUTE 'UNLISTEN *';",
    "discard": "EXECUTE 'DISCARD ALL';",
    "temporary table": "CREATE TEMP TABLE planted (id int);",
    "temporary view": "EXECUTE 'CREATE TEMP VIEW planted AS SELECT 1';",
    "temporary type": "EXECUTE 'CREATE DOMAIN pg_temp.text AS pg_catalog.text';",
    "temporary function": "EXECUTE 'CREATE FUNCTION pg_temp.planted() RETURNS int LANGUAGE sql AS $x$ SELECT 1 $x$';",
    "select into": "EXECUTE 'CREATE TEMP TABLE planted AS SELECT 1';",
    "constraints": "SET CONSTRAINTS ALL IMMEDIATE;",
    "load": "LOAD '$libdir/plugins/nothing';",
    "create a table": f"EXECUTE 'CREATE TABLE planted (id int)';",
    "grant": "EXECUTE 'GRANT ALL ON ' || current_schema || ' TO PUBLIC';",
}


# Those that are refused, and with which words; the rest is done, and undone.
REFUSED = {
    "role": "security-definer function", "role by a function": "security-definer function",
    "session authorization": "security-definer function",
} | dict.fromkeys(
    ["prepare", "deallocate", "held cursor", "close", "listen", "unlisten", "discard", "temporary table", "temporary view",
     "temporary type", "temporary function", "select into", "constraints", "load", "create a table", "grant"],
    "security-restricted operation",
)


@pytest.mark.parametrize("trace", TRACES)
def test_a_transform_leaves_nothing_in_the_session(db, owner, writer, receiver, trace):
    """Of whoever writes, an ordinary role and a superuser: its settings, statements, cursors, types, channels and locks
    are as before, and no role has more rights."""
    transform(owner, TRACES[trace])
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    before = rights(db)
    for number, session in enumerate((writer.connection, db.connection, owner.connection), 1):
        session.execute("SET application_name = 'mine'; SET work_mem = '5MB'; SET search_path = public, pg_catalog")
        session.execute("PREPARE mine AS SELECT 2; LISTEN mine; SELECT pg_advisory_lock(7)")
        session.execute("DECLARE mine CURSOR WITH HOLD FOR SELECT 3 UNION ALL SELECT 4")
        with session.transaction():
            session.execute("DECLARE open CURSOR FOR SELECT 5")
            held = state(session)
            session.execute(f"INSERT INTO {owner.role}.things VALUES (%s, 'a')", [number])
            assert state(session) == held
            assert session.execute("FETCH open").fetchone() == (5,)
        assert session.execute("FETCH ALL mine").fetchall() == [(3,), (4,)]
        session.execute("DEALLOCATE mine; CLOSE mine; UNLISTEN mine; SELECT pg_advisory_unlock(7)")
    assert rights(db) == before
    assert {who for (who,) in db.rows(f"SELECT DISTINCT who FROM {owner.role}.spied")} <= {owner.role}
    assert db.value(f"SELECT count(*) FROM {owner.role}.things") == 3
    assert len(bodies(db)) == 3
    failed = db.rows("SELECT error FROM webhook.deliveries WHERE status = 'dead'")
    if trace in REFUSED:
        assert len(failed) == 3 and all(f"within {REFUSED[trace]}" in error for (error,) in failed)
    else:
        assert not failed and all(body["transformed"] for body in bodies(db)), failed


def test_a_function_of_somebody_elses_that_a_transform_calls(db, people, owner, writer, receiver):
    """It is the owner's choice, with the owner's rights; nobody else's, and it leaves no more than the transform does."""
    dev = people("dev")
    dev.run(
        "CREATE FUNCTION helps() RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN BEGIN EXECUTE 'SET ROLE NONE'; EXCEPTION WHEN OTHERS THEN RETURN current_user || ': ' || SQLSTATE; END; RETURN 'free'; END $$"
    )
    transform(owner, f"payload := jsonb_build_object('by', {dev.role}.helps());")
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    for number, session in enumerate((writer, db, dev), 1):
        session.run(f"INSERT INTO {owner.role}.things VALUES (%s, 'a')", number)
    assert [body["by"] for body in bodies(db)] == [f"{owner.role}: 42501"] * 3


def test_the_cursors_of_a_session_are_closed_to_a_transform(db, owner, receiver):
    """By its name code of the session can read an open cursor with the rights of whoever opened it."""
    db.run("CREATE TABLE private (pin text); INSERT INTO private VALUES ('1234'), ('5678')")
    owner.run(
        f"CREATE OR REPLACE FUNCTION {owner.role}.shape(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$"
        " DECLARE c refcursor := 'pins'; got text; BEGIN"
        "  BEGIN FETCH c INTO got; EXCEPTION WHEN OTHERS THEN got := SQLERRM; END;"
        "  BEGIN CLOSE c; EXCEPTION WHEN OTHERS THEN got := got || ' ' || SQLERRM; END;"
        "  RETURN jsonb_build_object('got', got); END $$"
    )
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    with db.connection.transaction():
        db.run("DECLARE pins CURSOR FOR SELECT pin FROM private")
        assert db.value("FETCH pins") == "1234"
        db.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
        assert db.value("FETCH pins") == "5678"
    [body] = bodies(db)
    assert "1234" not in body["got"] and "5678" not in body["got"] and "cannot" in body["got"]


def test_what_a_transform_may_leave(db, owner, writer, receiver):
    """What the function of an index may leave behind as well, because PostgreSQL has no way to undo it."""
    transform(
        owner, f"PERFORM nextval('{owner.role}.numbers'); PERFORM random(); PERFORM pg_advisory_xact_lock(42);"
        f" INSERT INTO {owner.role}.spied VALUES ('too'); NOTIFY {owner.role};"
    )
    create(owner, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    owner.run("GRANT SELECT ON numbers TO PUBLIC")
    locks = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
    with writer.connection.transaction():
        writer.run(f"INSERT INTO {owner.role}.things VALUES (1, 'a')")
        assert writer.value(locks) == 1
    assert writer.value(locks) == 0
    assert bodies(db)[0]["transformed"]
    assert owner.value("SELECT last_value FROM numbers") == 1
    assert writer.value("SELECT lastval()") == 1
    assert owner.rows("SELECT who FROM spied") == [(owner.role,), ("too",)]


PATHS = {
    "insert": "INSERT INTO {own}.things VALUES (1, 'a')",
    "copy": "COPY {own}.things FROM STDIN",
    "emit": "SELECT webhook_emit('a.b', '1')",
    "invoke": "SELECT webhook_invoke('hook', r) FROM (SELECT 1 AS id) AS r",
    "preview": "SELECT webhook_preview('hook', 'INSERT', '{{\"id\": 1}}')",
    "preview of an emit": "SELECT webhook_preview('hook', 'a.b', '1')",
    "replay": "SELECT webhook_replay(id) FROM webhook.deliveries",
}


@pytest.mark.parametrize("path", PATHS)
def test_every_way_in_which_a_transform_is_called(db, owner, receiver, path):
    """By a superuser: it runs as the webhook's owner, and what it sets is gone afterwards."""
    create(owner, receiver.url("/"), events=["INSERT", "a.*"])
    # so that what it emits is heard
    db.run(f"GRANT {owner.role} TO postgres")
    if path.startswith("replay"):
        transform(owner, "RAISE EXCEPTION 'not now';")
        owner.run("SELECT webhook_update('hook', transform => %s)", f"{owner.role}.shape(jsonb)")
        db.run(PATHS["insert"].format(own=owner.role))
        db.wait_for_status(1, "dead")
    transform(owner, "PERFORM set_config('search_path', 'evil', false); PERFORM set_config('pg_webhook.capture', 'off', false);")
    owner.run("SELECT webhook_update('hook', transform => %s)", f"{owner.role}.shape(jsonb)")
    before, held = rights(db), state(db.connection)
    if path == "copy":
        with db.connection.cursor().copy(PATHS[path].format(own=owner.role)) as copy:
            copy.write_row((1, "a"))
    else:
        db.run(PATHS[path].format(own=owner.role))
    assert state(db.connection) == held
    assert rights(db) == before
    spied = db.rows(f"SELECT who FROM {owner.role}.spied")
    assert spied == [(owner.role,)]
    if not path.startswith("preview"):
        db.wait_for_status(1)


# --- casts to json -----------------------------------------------------------------------------------


def cast(person, of, body, name="as_json"):
    """A cast of a type of `person`'s to json, with a function that notes who runs it."""
    person.run("CREATE TABLE IF NOT EXISTS ran (who text); GRANT INSERT ON ran TO PUBLIC")
    person.run(
        f"CREATE FUNCTION {name}(v {of}) RETURNS json LANGUAGE plpgsql AS $$ BEGIN"
        f" INSERT INTO {person.role}.ran VALUES (current_user); {body} END $$"
    )
    person.run(f"CREATE CAST ({of} AS json) WITH FUNCTION {name}({of})")


# A column of the type {t}.mood, in every shape in which row_to_json finds it, and how it is written without a cast.
SHAPES = {
    "the type": ("{t}.mood", "'happy'", "happy"),
    "an array": ("{t}.mood[]", "'[2:3]={{happy,NULL}}'", ["happy", None]),
    "arrays in an array": ("{t}.mood[]", "'{{{{happy,sad}},{{sad,happy}}}}'", [["happy", "sad"], ["sad", "happy"]]),
    "a domain": ("{t}.feeling", "'happy'", "happy"),
    "an array of a domain": ("{t}.feeling[]", "'{{happy}}'", ["happy"]),
    "a domain over an array": ("{t}.feelings", "'{{happy}}'", ["happy"]),
    "an array of a domain over an array": ("{t}.feelings[]", "ARRAY[ARRAY['happy']::{t}.feelings]", [["happy"]]),
    "a composite": ("{t}.pair", "ROW(1, 'happy')", {"n": 1, "m": "happy"}),
    "a composite in an array": ("{t}.pair[]", "ARRAY[ROW(1, 'happy')::{t}.pair]", [{"n": 1, "m": "happy"}]),
    "a domain over a composite": ("{t}.couple", "ROW(1, 'happy')", {"n": 1, "m": "happy"}),
    "a composite in a composite": ("{t}.nested", "ROW(ROW(1, 'happy')::{t}.pair)", {"p": {"n": 1, "m": "happy"}}),
}


def moods(person):
    person.run("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    person.run("CREATE DOMAIN feeling AS mood; CREATE DOMAIN feelings AS mood[]; CREATE TYPE pair AS (n int, m mood)")
    person.run("CREATE DOMAIN couple AS pair; CREATE TYPE nested AS (p pair)")
    cast(person, "mood", "RETURN json_build_object('mood', v::text, 'who', current_user);")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", ["capture", "invoke", "preview"])
def test_the_owner_of_a_type_gains_nothing_from_writers(db, people, owner, writer, receiver, shape, way):
    """A cast of somebody else's is not called at all: the column is written as if there were none."""
    dev = people("dev")
    moods(dev)
    type, value = (part.format(t=dev.role) for part in SHAPES[shape][:2])
    written = SHAPES[shape][2]
    db.run(f"CREATE TABLE {owner.role}.felt (id int PRIMARY KEY, m {type}); ALTER TABLE {owner.role}.felt OWNER TO {owner.role}")
    owner.run("GRANT INSERT, SELECT ON felt TO PUBLIC")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt")
    before = rights(db)
    for number, session in enumerate((writer.connection, owner.connection, db.connection), 1):
        if way == "capture":
            session.execute(f"INSERT INTO {owner.role}.felt VALUES (%s, {value.replace('%', '%%')})", [number])
    if way == "invoke":
        db.run(f"SELECT webhook_invoke('hook', f) FROM (SELECT 1 AS id, {value}::{type} AS m) AS f")
        db.run(f"SELECT webhook_invoke('hook', f) FROM (SELECT 1 AS id, ROW(1, {value}::{type}) AS m) AS f")
        assert bodies(db)[1]["record"]["m"] == {"f1": 1, "f2": written}
    if way == "preview":
        # json_populate_record takes this for an array of two dimensions
        given = '{"{happy}"}' if shape == "an array of a domain over an array" else written
        body = owner.value("SELECT body FROM webhook_preview('hook', 'INSERT', %s::jsonb)", json.dumps({"id": 1, "m": given}))
        assert json.loads(body)["record"]["m"] == written
    else:
        assert bodies(db)[0]["record"]["m"] == written
    assert db.rows(f"SELECT who FROM {dev.role}.ran") == []
    assert rights(db) == before


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cast_of_the_owners_runs_as_the_owner(db, owner, writer, receiver, shape):
    """Whoever writes; and a writer needs no right on what it reads."""
    moods(owner)
    type, value = (part.format(t=owner.role) for part in SHAPES[shape][:2])
    owner.run(f"CREATE TABLE felt (id int PRIMARY KEY, m {type}, at timestamptz); GRANT INSERT ON felt TO PUBLIC")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt")
    writer.run("SET TimeZone = 'Asia/Kathmandu'")
    held = state(writer.connection)
    writer.run(f"INSERT INTO {owner.role}.felt VALUES (1, {value}, '2026-01-01 00:00:00+00')")
    assert state(writer.connection) == held
    [body] = bodies(db)
    assert f'"who":"{owner.role}"' in json.dumps(body["record"]["m"]).replace(" ", "").replace("\\", "")
    assert body["record"]["at"] == "2026-01-01T00:00:00+00:00"
    assert set(db.rows(f"SELECT who FROM {owner.role}.ran")) == {(owner.role,)}


@pytest.mark.parametrize("part", ["a domain's check", "a check in an array in a composite", "an operator in a check", "a condition"])
def test_a_preview_calls_nothing_of_strangers(db, people, owner, receiver, part):
    """Making a row out of JSON evaluates checks, and a preview the condition: with the rights of the webhook's owner."""
    dev = people("dev")
    dev.run("CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC")
    dev.run(
        f"CREATE FUNCTION spy(v int) RETURNS boolean LANGUAGE plpgsql AS"
        f" $$ BEGIN INSERT INTO {dev.role}.ran VALUES (current_user); RETURN true; END $$"
    )
    dev.run("CREATE FUNCTION spies(a int, b text) RETURNS boolean LANGUAGE sql AS 'SELECT " + dev.role + ".spy(a)'")
    dev.run("CREATE OPERATOR =? (FUNCTION = spies, LEFTARG = int, RIGHTARG = text)")
    check = f"VALUE OPERATOR({dev.role}.=?) 'x'::text" if "operator" in part else "spy(VALUE)" if "condition" not in part else "VALUE > 0"
    dev.run(f"CREATE DOMAIN checked AS int CHECK ({check}); CREATE TYPE pair AS (n int, c checked[])")
    type = "pair" if "composite" in part else "checked"
    value = '{"n": 1, "c": [2]}' if type == "pair" else "2"
    owner.run(f"CREATE TABLE felt (id int PRIMARY KEY, c {dev.role}.{type})")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"],
           condition=f"{dev.role}.spy(NEW.id)" if part == "a condition" else None)
    before = rights(db)
    for session in (owner.connection, db.connection):
        reason = session.execute(
            "SELECT reason FROM webhook_preview('hook', 'INSERT', %s::jsonb)", [f'{{"id": 1, "c": {value}}}']
        ).fetchone()[0]
        assert dev.role in reason
    assert db.rows(f"SELECT who FROM {dev.role}.ran") == [] and rights(db) == before
    db.run(f"ALTER FUNCTION {dev.role}.spy OWNER TO {owner.role}; ALTER FUNCTION {dev.role}.spies OWNER TO {owner.role};"
           f" ALTER DOMAIN {dev.role}.checked OWNER TO {owner.role}")
    body = owner.value("SELECT body FROM webhook_preview('hook', 'INSERT', %s::jsonb)", f'{{"id": 1, "c": {value}}}')
    assert json.loads(body)["record"]["id"] == 1
    assert {who for (who,) in db.rows(f"SELECT who FROM {dev.role}.ran")} == {owner.role}


def test_a_cast_that_fails_or_leaves_traces_fails_no_write(db, owner, writer, receiver):
    """The row is written as if there were none then; settings of the function are gone."""
    owner.run("CREATE TYPE mood AS ENUM ('sad', 'happy', 'mad')")
    owner.run("CREATE TABLE hidden (word json); INSERT INTO hidden VALUES ('\"joy\"')")
    cast(
        owner, "mood",
        f"IF v = 'sad' THEN RAISE EXCEPTION 'no'; END IF; PERFORM set_config('search_path', 'evil', false);"
        f" SET TimeZone = 'Asia/Kathmandu'; IF v = 'mad' THEN RETURN repeat('x', 5000000)::json; END IF;"
        f" RETURN (SELECT word FROM {owner.role}.hidden);",
    )
    owner.run("CREATE TABLE felt (id int PRIMARY KEY, m mood, before mood); GRANT INSERT, UPDATE, SELECT ON felt TO PUBLIC")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt")
    held = state(writer.connection)
    writer.run(f"INSERT INTO {owner.role}.felt VALUES (1, 'happy', NULL)")
    writer.run(f"INSERT INTO {owner.role}.felt VALUES (2, 'sad', 'happy')")
    writer.run(f"UPDATE {owner.role}.felt SET m = 'sad' WHERE id = 1")
    writer.run(f"INSERT INTO {owner.role}.felt VALUES (3, 'mad', NULL)")
    assert state(writer.connection) == held
    records = [body["record"] for body in bodies(db)]
    assert records == [
        {"id": 1, "m": "joy", "before": None}, {"id": 2, "m": "sad", "before": "happy"},
        {"id": 1, "m": "sad", "before": None}, {"id": 3, "m": "mad", "before": None},
    ]


def test_whose_cast_it_is_is_asked_again(db, people, owner, writer, receiver):
    """When it is made, dropped or given away, in a session that has written before. A membership in its owner is no help."""
    group = people("grp", attributes="NOLOGIN")
    db.run(f"CREATE TYPE {group.role}.mood AS ENUM ('happy'); ALTER TYPE {group.role}.mood OWNER TO {group.role}")
    db.run(f"CREATE TYPE {group.role}.pair AS (n int); ALTER TYPE {group.role}.pair OWNER TO {group.role}")
    owner.run(f"CREATE TABLE felt (id int PRIMARY KEY, m {group.role}.mood, p {group.role}.pair); GRANT INSERT ON felt TO PUBLIC")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt")
    number = iter(range(100))

    def written():
        writer.run(f"INSERT INTO {owner.role}.felt VALUES (%s, 'happy', ROW(1))", next(number))
        return bodies(db)[-1]["record"]["m"]

    assert written() == "happy"
    db.run(
        f"CREATE FUNCTION {group.role}.as_json({group.role}.mood) RETURNS json LANGUAGE sql AS $$ SELECT '[1]'::json $$;"
        f" CREATE CAST ({group.role}.mood AS json) WITH FUNCTION {group.role}.as_json({group.role}.mood)"
    )
    assert written() == [1], "a superuser's"
    db.run(f"ALTER FUNCTION {group.role}.as_json OWNER TO {group.role}")
    assert written() == "happy"
    db.run(f"GRANT {group.role} TO {owner.role}")
    assert written() == "happy"
    db.run(f"ALTER FUNCTION {group.role}.as_json OWNER TO {owner.role}")
    assert written() == [1]
    db.run(f"CREATE OR REPLACE FUNCTION {group.role}.as_json({group.role}.mood) RETURNS json LANGUAGE sql AS $$ SELECT '[2]'::json $$")
    assert written() == [2]
    db.run(f"ALTER TYPE {group.role}.pair ADD ATTRIBUTE m {group.role}.mood")
    writer.run(f"INSERT INTO {owner.role}.felt VALUES (%s, 'happy', ROW(1, 'happy'))", next(number))
    assert bodies(db)[-1]["record"]["p"] == {"n": 1, "m": [2]}
    db.run(f"ALTER FUNCTION {group.role}.as_json OWNER TO {group.role}")
    writer.run(f"INSERT INTO {owner.role}.felt VALUES (%s, 'happy', ROW(1, 'happy'))", next(number))
    assert bodies(db)[-1]["record"]["p"] == {"n": 1, "m": "happy"}
    db.run(f"DROP CAST ({group.role}.mood AS json)")
    writer.run(f"INSERT INTO {owner.role}.felt VALUES (%s, 'happy', ROW(1, 'happy'))", next(number))
    assert bodies(db)[-1]["record"]["p"] == {"n": 1, "m": "happy"}


def test_a_superuser_is_a_member_of_nobody(db, people, receiver):
    """Its webhooks do not call what others own, although it may do everything."""
    dev = people("dev")
    moods(dev)
    db.run(f"CREATE TABLE felt (id int PRIMARY KEY, m {dev.role}.mood)")
    db.create("hook", receiver.url("/"), table_name="felt")
    db.run("INSERT INTO felt VALUES (1, 'happy')")
    assert bodies(db)[0]["record"]["m"] == "happy"
    assert db.rows(f"SELECT who FROM {dev.role}.ran") == []
    dev.run("CREATE FUNCTION evil(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="cannot run as role"):
        db.run(f"SELECT webhook_update('hook', transform => '{dev.role}.evil(jsonb)')")


def test_invoked_rows_of_plain_types_are_as_ever(db, owner, receiver):
    """Nested records and arrays of them are objects, not texts."""
    create(owner, receiver.url("/"))
    owner.run(
        "SELECT webhook_invoke('hook', f) FROM (SELECT 1 AS id, (2, 'x') AS pair,"
        " (SELECT array_agg(r) FROM (VALUES (1, 2), (3, NULL)) AS r) AS list, ARRAY[[1], [2]] AS grid) AS f"
    )
    assert bodies(db)[0]["record"] == {
        "id": 1, "pair": {"f1": 2, "f2": "x"}, "grid": [[1], [2]],
        "list": [{"column1": 1, "column2": 2}, {"column1": 3, "column2": None}],
    }


def test_a_row_of_a_table_that_has_lost_a_column(db, owner, receiver):
    """A row as a value keeps what was in it."""
    owner.run("CREATE TYPE mood AS ENUM ('happy'); CREATE TABLE felt (id int PRIMARY KEY, gone text, m mood)")
    owner.run("INSERT INTO felt VALUES (1, 'x', 'happy'); ALTER TABLE felt DROP gone")
    create(owner, receiver.url("/"), table_name=None)
    owner.run("SELECT webhook_invoke('hook', f) FROM felt AS f")
    owner.run("SELECT webhook_invoke('hook', ROW(ARRAY[f], f)) FROM felt AS f")
    row = {"id": 1, "m": "happy"}
    assert [body["record"] for body in bodies(db)] == [row, {"f1": [row], "f2": row}]


def test_a_session_keeps_one_type_for_the_rows_of_a_table(db, owner, receiver):
    """Whichever of their columns are NULL: PostgreSQL never forgets a type of rows that it has been told of."""
    columns = 9
    owner.run("CREATE TYPE mood AS ENUM ('happy'); CREATE TYPE pair AS (n int, m mood)")
    names = ", ".join(f"c{n} {('mood[]', 'pair', 'inet')[n % 3]}" for n in range(columns))
    values = ", ".join(
        f"CASE WHEN (i >> {n}) % 2 = 0 THEN {value} END"
        for n, value in ((n, ("'{happy}'::mood[]", "ROW(1, 'happy')::pair", "'::1'::inet")[n % 3]) for n in range(columns))
    )
    owner.run(f"CREATE TABLE felt (id int PRIMARY KEY, {names})")
    create(owner, receiver.url("/"), table_name=f"{owner.role}.felt", events=["INSERT"])
    kept = "SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name IN ('CacheMemoryContext', 'Record information cache')"
    db.run(f"SET search_path = {owner.role}")
    for number in (-1, -2):
        db.run(f"INSERT INTO felt SELECT {number} * (1 + g.n), {values} FROM generate_series(1, 100) AS g (n), (VALUES (0)) AS v (i)"
               " ON CONFLICT DO NOTHING")
    before = db.value(kept)
    db.run(f"INSERT INTO felt SELECT i, {values} FROM generate_series(0, {2**columns - 1}) AS i")
    assert db.value(kept) - before < 50_000


def test_a_first_row_does_not_take_longer_with_each_type_there_is(db):
    db.hand_over()
    db.run("""
        DO $$BEGIN FOR n IN 1..1500 LOOP EXECUTE format('CREATE DOMAIN d%s AS int', n); END LOOP; END$$;
        CREATE TYPE pair AS (a d1, b d2[]);
        CREATE TABLE typed (id int PRIMARY KEY, x d1, y pair[], z d3)""")
    db.judge.run("ANALYZE pg_type")
    db.create("hook", "http://127.0.0.1:9/", table_name="typed", events=["INSERT"])
    scans = "SELECT seq_scan FROM pg_stat_xact_sys_tables WHERE relid = 'pg_type'::regclass"
    with db.connect() as session, session.transaction():
        session.execute("INSERT INTO typed VALUES (1, 2, '{\"(3,{4})\"}', 5)")
        assert session.execute(scans).fetchone() == (0,)
