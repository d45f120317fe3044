"""Code that somebody else has written, where we call it: as the webhook's owner, with nothing left behind, and only
where that owner could have chosen it."""

import concurrent.futures

import psycopg
import pytest

from harness import wait_until

#: What makes an event of webhook `hook` on member.own, and who does it.
CALLS = {
    "insert": "INSERT INTO member.own VALUES (1)",
    "copy": "INSERT INTO member.own SELECT generate_series(1, 3)",
    "in-a-function": "DO $$BEGIN INSERT INTO member.own VALUES (1); END$$",
    "invoke": "SELECT webhook_invoke('hook', o) FROM (SELECT 1 AS id) AS o",
    "emit": "SELECT webhook_emit('a.b', '{\"id\": 1}')",
    "preview": "SELECT * FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')",
    "replay": "SELECT webhook_replay(max(id)) FROM webhook.dead_letters",
}

#: What a transform might leave in the session of whoever calls it.
TRACES = {
    "search_path": "PERFORM set_config('search_path', 'member, pg_catalog', false);",
    "capture": "PERFORM set_config('pg_webhook.capture', 'off', false);",
    "role": "PERFORM set_config('role', 'postgres', false);",
    "set-role": "EXECUTE 'SET ROLE postgres';",
    "reset-role": "EXECUTE 'RESET ROLE';",
    "session-authorization": "EXECUTE 'SET SESSION AUTHORIZATION DEFAULT';",
    "placeholder": "PERFORM set_config('member.anything', 'x', false);",
    "local": "EXECUTE 'SET LOCAL DateStyle = ''SQL, DMY''';",
    "work_mem": "EXECUTE 'SET work_mem = ''123MB''';",
    "row_security": "EXECUTE 'SET row_security = off';",
    "replica-role": "EXECUTE 'SET session_replication_role = replica';",
    "prepare": "EXECUTE 'PREPARE evil AS SELECT 1';",
    "temporary": "EXECUTE 'CREATE TEMP TABLE evil (id int)';",
    "cursor": "EXECUTE 'DECLARE evil CURSOR WITH HOLD FOR SELECT 1';",
    "listen": "EXECUTE 'LISTEN evil';",
    "deferred": "EXECUTE 'SET CONSTRAINTS ALL DEFERRED';",
    "lock": "EXECUTE 'LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE';",
    "load": "EXECUTE 'LOAD ''auto_explain''';",
    "discard": "EXECUTE 'DISCARD ALL';",
}


#: Who may do which of them. What others emit is not heard by a member's webhook, or not transformed.
CALLERS = {"insert": ("postgres", "admin", "writer", "member"), "invoke": ("postgres", "admin", "member")}
CALLERS |= {"copy": CALLERS["insert"], "in-a-function": CALLERS["insert"]}
CALLERS |= {call: CALLERS["invoke"] for call in ("preview", "replay")} | {"emit": ("member",)}


def set_out(stage, also="", **settings):
    stage.spy("member", "shape", "jsonb", "jsonb", "v", also)
    stage.as_("member").execute("CREATE TABLE member.own (id int); GRANT SELECT, INSERT ON member.own TO writer, admin")
    stage.webhook(
        "member", table_name="member.own", events="{INSERT,a.*}", transform="member.shape(jsonb)", **settings
    )
    stage.as_("member").execute("INSERT INTO member.own VALUES (0)")


def with_dead_letters(stage, also=""):
    """Some that are to be transformed again; from then on the transform does as it is told."""
    set_out(stage)
    assert ("member", "member") in stage.spied()
    stage.spy("member", "shape", "jsonb", "jsonb", "v", "RAISE EXCEPTION 'not now';")
    stage.run("member", "INSERT INTO member.own VALUES (1), (2), (3), (4)")
    stage.spy("member", "shape", "jsonb", "jsonb", "v", also)


def calls_it(stage, who, call):
    """Whoever it is calls the transform by that."""
    before = len(stage.spied())
    assert stage.tries(who, CALLS[call]) is None
    assert len(stage.spied()) > before, f"{call} of {who} calls no transform"


@pytest.mark.parametrize("call", CALLS)
def test_a_transform_runs_as_its_webhooks_owner(stage, call):
    with_dead_letters(stage)
    for who in CALLERS[call]:
        calls_it(stage, who, call)


@pytest.mark.parametrize("trace", TRACES)
def test_a_transform_leaves_nothing_behind(stage, trace):
    set_out(stage, f"BEGIN {TRACES[trace]} EXCEPTION WHEN OTHERS THEN NULL; END;")
    # The session is compared before and after, see Stage.run.
    for who in ("postgres", "writer"):
        stage.run(who, "INSERT INTO member.own VALUES (1)")
        stage.run(who, "INSERT INTO member.own VALUES (2)")
    assert stage.value("member", "SELECT count(*) FROM webhook.deliveries") == 5
    # And one that fails.
    stage.spy("member", "shape", "jsonb", "jsonb", "v", f"{TRACES[trace]} RAISE EXCEPTION 'no';")
    stage.run("writer", "INSERT INTO member.own VALUES (1)")
    assert stage.value("member", "SELECT count(*) FROM webhook.dead_letters") == 1


#: What the comparison of two sessions does not show, with what would. Of these a superuser's transform could do more, and is refused as any.
LASTING = {
    "deferred": (TRACES["deferred"], "SELECT 1", "INSERT INTO public.once VALUES (1), (1)", "23505"),
    "lock": (
        TRACES["lock"], "SELECT count(*) = 0 FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock'"
        " AND relation = 'pg_class'::regclass", "SELECT 1", None,
    ),
    "load": (TRACES["load"], "SELECT count(*) = 0 FROM pg_settings WHERE name LIKE 'auto_explain.%'", "SELECT 1", None),
}


@pytest.mark.parametrize("owner, trace", [(owner, trace) for owner in ("postgres", "member") for trace in LASTING])
def test_a_transform_leaves_nothing_that_lasts(stage, owner, trace):
    act, asked, then, refused = LASTING[trace]
    schema = "member" if owner == "member" else "public"
    stage.superuser.execute("CREATE TABLE public.once (id int UNIQUE DEFERRABLE); GRANT INSERT ON public.once TO PUBLIC")
    stage.as_(owner).execute(f"""
        CREATE TABLE {schema}.watched (id int); GRANT INSERT ON {schema}.watched TO writer;
        CREATE FUNCTION {schema}.leaves(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS
            $$BEGIN {act} RETURN v || '{{"left": true}}'; EXCEPTION WHEN OTHERS THEN RETURN v || '{{"refused": true}}'; END$$;
    """)
    stage.webhook(owner, table_name=f"{schema}.watched", events="{INSERT}", transform=f"{schema}.leaves(jsonb)")
    stage.takes_these_rights()
    for who in ("writer", "postgres"):
        session = stage.as_(who)
        with session.transaction(force_rollback=True):
            session.execute(f"INSERT INTO {schema}.watched VALUES (1)")
            assert session.execute(asked).fetchone()[0]
            try:
                session.execute(then)
            except psycopg.Error as error:
                assert error.sqlstate == refused
            else:
                assert refused is None
    stage.run("writer", f"INSERT INTO {schema}.watched VALUES (1)")
    assert stage.value("postgres", "SELECT payload::json ->> 'refused' FROM webhook.event") == "true"


@pytest.mark.parametrize("call", ["invoke", "preview", "replay"])
def test_a_transform_leaves_nothing_behind_in_other_calls(stage, call):
    with_dead_letters(stage, TRACES["search_path"] + TRACES["capture"] + TRACES["placeholder"])
    for who in ("postgres", "admin"):
        calls_it(stage, who, call)


#: Whoever may grant a role makes anybody a member of it, whose events its webhooks hear from then on.
EMITTERS = ["writer", "stranger", "admin", "postgres"]


@pytest.mark.parametrize("emitter", EMITTERS)
def test_a_transform_runs_as_its_webhooks_owner_for_a_member_that_emits(stage, emitter):
    """And leaves nothing behind there; nor is an error of it the emitter's, whatever the webhook says."""
    set_out(stage, on_transform_error="fail")
    stage.superuser.execute(f"GRANT member TO {emitter}")
    stage.takes_these_rights()
    for trace in TRACES.values():
        for also in (f"BEGIN {trace} EXCEPTION WHEN OTHERS THEN NULL; END;", f"{trace} RAISE EXCEPTION 'no';"):
            stage.spy("member", "shape", "jsonb", "jsonb", "v", also)
            before = len(stage.spied())
            # The session is compared before and after, see Stage.run.
            assert stage.value(emitter, CALLS["emit"]) == 1
            assert stage.spied()[before:] == [("member", "member")], trace
    failed = "SELECT count(*) FROM webhook.dead_letters WHERE event_type = 'a.b' AND webhook = 'hook'"
    assert stage.value("member", failed) == len(TRACES)


@pytest.mark.parametrize("emitter", EMITTERS)
def test_a_transform_does_not_run_for_an_emitter_that_is_named_only(stage, emitter):
    set_out(stage, on_transform_error="fail")
    before = len(stage.spied())
    stage.run("member", "SELECT webhook_update('hook', emitters => %s)", [emitter])
    stage.takes_these_rights()
    assert stage.value(emitter, CALLS["emit"]) == 1
    assert len(stage.spied()) == before
    reason = f"the transform does not run in a session of role {emitter}, whose rights the webhook's owner does not have"
    assert stage.value("member", "SELECT error FROM webhook.dead_letters WHERE event_type = 'a.b'") == reason


def test_a_transform_of_somebody_else_is_refused(stage):
    stage.spy("funcer", "shape", "jsonb", "jsonb", "v")
    stage.as_("member").execute("CREATE TABLE member.own (id int)")
    call = "SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'member.own', transform => 'funcer.shape(jsonb)')"
    assert stage.tries("member", call) == "42501"
    stage.webhook("member", table_name="member.own")
    assert stage.tries("member", "SELECT webhook_update('hook', transform => 'funcer.shape(jsonb)')") == "42501"


def test_a_transform_that_was_given_away_is_not_called(stage):
    stage.superuser.execute("GRANT CREATE ON SCHEMA member TO funcer; GRANT funcer TO member")
    stage.takes_these_rights()
    set_out(stage)
    stage.as_("member").execute("ALTER FUNCTION member.shape(jsonb) OWNER TO funcer")
    stage.superuser.execute("REVOKE funcer FROM member")
    stage.takes_these_rights()
    stage.spy("funcer", "other", "jsonb", "jsonb", "v")
    stage.as_("funcer").execute("""
        CREATE OR REPLACE FUNCTION member.shape(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS
        $$BEGIN PERFORM funcer.other('{}'); RETURN v; END$$
    """)
    before = len(stage.spied())
    stage.run("writer", "INSERT INTO member.own VALUES (1)")
    assert len(stage.spied()) == before


#: Types of `typer` with a cast to json of its own, and a value of each.
CASTS = {
    "enum": ("CREATE TYPE typer.kind AS ENUM ('a')", "typer.kind", "'a'"),
    "composite": ("CREATE TYPE typer.kind AS (a int)", "typer.kind", "'(1)'"),
    "array": ("CREATE TYPE typer.kind AS ENUM ('a')", "typer.kind[]", "'{a}'"),
    "in-a-composite": ("CREATE TYPE typer.kind AS ENUM ('a'); CREATE TYPE typer.box AS (k typer.kind)", "typer.box", "'(a)'"),
    "array-of-composites": (
        "CREATE TYPE typer.kind AS ENUM ('a'); CREATE TYPE typer.box AS (k typer.kind)", "typer.box[]", "'{(a)}'",
    ),
    "domain": ("CREATE TYPE typer.kind AS ENUM ('a'); CREATE DOMAIN typer.dom AS typer.kind", "typer.dom", "'a'"),
    "range": ("CREATE TYPE typer.kind AS RANGE (subtype = int)", "typer.kind", "'[1,2)'"),
}


@pytest.mark.parametrize("kind", CASTS)
def test_a_cast_of_a_types_owner_does_not_run_as_others(stage, kind):
    make, column, value = CASTS[kind]
    stage.spy("typer")
    typer = stage.as_("typer")
    typer.execute(make)
    typer.execute("""
        CREATE FUNCTION typer.as_json(typer.kind) RETURNS json LANGUAGE plpgsql AS
            $$BEGIN PERFORM typer.spy(1); RETURN '"cast"'; END$$;
        CREATE CAST (typer.kind AS json) WITH FUNCTION typer.as_json(typer.kind);
    """)
    stage.as_("tabler").execute(f"CREATE TABLE tabler.t (id int, k {column}); GRANT INSERT ON tabler.t TO writer")
    stage.webhook("tabler", table_name="tabler.t", events="{INSERT}")
    for who in ("writer", "postgres", "tabler"):
        stage.run(who, f"INSERT INTO tabler.t VALUES (1, {value})")
    assert stage.spied() == []
    assert stage.value("tabler", "SELECT count(*) FROM webhook.deliveries") == 3
    stage.tries("tabler", "SELECT webhook_invoke('hook', o) FROM tabler.t AS o")
    stage.tries("admin", "SELECT * FROM webhook_preview('hook', 'INSERT', %s)", '{"id": 1}')


def test_a_cast_that_cannot_run_does_not_stop_a_writer(stage):
    stage.as_("tabler").execute("""
        CREATE TABLE tabler.words (k int, word text); CREATE TYPE tabler.kind AS ENUM ('a');
        CREATE FUNCTION tabler.as_json(tabler.kind) RETURNS json LANGUAGE sql AS
            $$SELECT to_json(word) FROM tabler.words WHERE k = 1 / 0$$;
        CREATE CAST (tabler.kind AS json) WITH FUNCTION tabler.as_json(tabler.kind);
        CREATE TABLE tabler.t (id int, k tabler.kind); GRANT INSERT ON tabler.t TO writer;
    """)
    stage.webhook("tabler", table_name="tabler.t", events="{INSERT}")
    stage.run("writer", "INSERT INTO tabler.t VALUES (1, 'a')")
    assert stage.value("tabler", "SELECT count(*) FROM webhook.deliveries") == 1


def test_a_preview_of_a_row_runs_no_code_of_others_as_the_reader(stage):
    stage.spy("member")
    stage.as_("member").execute("""
        CREATE DOMAIN member.dom AS int CHECK (member.spy(value)); CREATE TABLE member.own (id member.dom, note text);
    """)
    stage.webhook("member", table_name="member.own", events="{INSERT}", condition="member.spy(NEW.id)")
    for who in ("postgres", "admin"):
        stage.run(who, "SELECT * FROM webhook_preview('hook', 'INSERT', %s)", '{"id": 1}')
    assert ("member", "member") in stage.spied()


def test_the_functions_of_a_condition_run_as_the_writer(stage):
    """As in anybody's trigger; whoever writes to a table trusts its owner."""
    stage.spy("member")
    stage.as_("member").execute("CREATE TABLE member.own (id int); GRANT INSERT ON member.own TO writer")
    stage.webhook("member", table_name="member.own", events="{INSERT}", condition="member.spy(NEW.id)")
    stage.may_run_as("member", "writer")
    stage.run("writer", "INSERT INTO member.own VALUES (1)")
    assert ("member", "writer") in stage.spied()


def test_events_of_a_superuser_are_not_for_every_member(stage):
    stage.webhook("member", events="{*}")
    assert stage.value("postgres", "SELECT webhook_emit('secret.thing', '{}')") == 0
    assert stage.value("member", "SELECT count(*) FROM webhook.deliveries") == 0


@pytest.mark.parametrize("emitter", ["stranger", "admin"])
def test_events_of_one_member_are_not_for_another(stage, emitter):
    stage.webhook("member", events="{*}")
    assert stage.value(emitter, "SELECT webhook_emit('secret.thing', '{}')") == 0


def test_one_cannot_name_oneself_an_emitter(stage):
    stage.webhook("member", events="{*}")
    assert stage.tries("stranger", "SELECT webhook_update('hook', emitters => '{stranger}')") == "42704"


#: Rows of which no column's type says what is in them, with values of member.kind.
UNTOLD = {
    "pg_stats": "SELECT webhook_invoke('hook', s) FROM pg_stats AS s WHERE tablename = 'kinds'",
    "anyarray": "SELECT webhook_invoke('hook', s) FROM (SELECT most_common_vals FROM pg_stats WHERE tablename = 'kinds') AS s",
    "in-a-record": "SELECT webhook_invoke('hook', ROW(s)) FROM pg_stats AS s WHERE tablename = 'kinds'",
    "in-an-array": "SELECT webhook_invoke('hook', ROW(ARRAY[s])) FROM pg_stats AS s WHERE tablename = 'kinds'",
    "in-a-domain": "SELECT webhook_invoke('hook', ROW(s::member.stats)) FROM pg_stats AS s WHERE tablename = 'kinds'",
    "missing-value": "SELECT webhook_invoke('hook', a) FROM pg_attribute AS a WHERE attmissingval IS NOT NULL",
}


def cast(stage, author, kind, body="PERFORM {author}.spy(1);"):
    """A type of `author` and a function that could be its cast to json."""
    stage.as_(author).execute(f"CREATE TYPE {author}.{kind} AS ENUM ('a')")
    stage.as_(author).execute(
        f"CREATE FUNCTION {author}.{kind}_json({author}.{kind}) RETURNS json LANGUAGE plpgsql AS"
        f" $$BEGIN {body.format(author=author)} RETURN '\"cast\"'; END$$"
    )
    return f"CREATE CAST ({author}.{kind} AS json) WITH FUNCTION {author}.{kind}_json({author}.{kind})"


@pytest.mark.parametrize("row", UNTOLD)
def test_a_cast_of_ones_own_is_no_way_to_our_owner(stage, row):
    stage.spy("member")
    member = stage.as_("member")
    member.execute(cast(stage, "member", "kind"))
    member.execute("""
        CREATE DOMAIN member.stats AS pg_stats; CREATE TABLE member.kinds (k member.kind);
        INSERT INTO member.kinds SELECT 'a' FROM generate_series(1, 100); ANALYZE member.kinds;
        ALTER TABLE member.kinds ADD COLUMN more member.kind NOT NULL DEFAULT 'a';
    """)
    stage.webhook("member", events="{a.*}")
    assert stage.run("member", UNTOLD[row]).rowcount >= 1
    assert ("member", "member") in stage.spied()


#: Waits until another type has a cast, for as long as ten seconds.
UNTIL_LATE = """
    FOR i IN 1..200 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_catalog.pg_cast WHERE castsource = 'member.late'::regtype);
        PERFORM pg_catalog.pg_sleep(0.05);
    END LOOP;
"""


def while_it_runs(stage, who, statement, late):
    """Run a statement of `who`, and `late` in a session of member when the statement waits for it."""
    pid = stage.as_(who).info.backend_pid
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(stage.tries, who, statement)
        wait_until(
            lambda: stage.superuser.execute(
                "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", [pid]
            ).fetchone()[0],
            "the statement waits",
        )
        with stage.cluster.connect(stage.database.name, user="member") as other:
            other.execute(late)
        assert running.result(30) is None


@pytest.mark.parametrize("call", ["invoke", "insert"])
def test_a_cast_that_is_made_meanwhile_is_no_way_to_our_owner(stage, call):
    stage.spy("member")
    stage.as_("member").execute(cast(stage, "member", "slow", UNTIL_LATE + "RAISE EXCEPTION 'now';"))
    late = cast(stage, "member", "late")
    stage.as_("member").execute("CREATE TABLE member.own (id int, s member.slow, l member.late); GRANT INSERT ON member.own TO writer")
    stage.webhook("member", table_name="member.own", events="{INSERT}")
    who, statement = {
        "invoke": ("member", "SELECT webhook_invoke('hook', ROW(1, 'a'::member.slow, 'a'::member.late))"),
        "insert": ("writer", "INSERT INTO member.own VALUES (1, 'a', 'a')"),
    }[call]
    while_it_runs(stage, who, statement, late)


def test_a_cast_that_is_made_during_a_preview_is_no_way_to_our_owner(stage):
    stage.spy("member")
    late = cast(stage, "member", "late")
    stage.as_("member").execute(f"""
        CREATE FUNCTION member.wait(int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN {UNTIL_LATE} RETURN true; END$$;
        CREATE DOMAIN member.slow AS int CHECK (member.wait(value));
        CREATE TABLE member.own (id member.slow, l member.late);
    """)
    stage.webhook("member", table_name="member.own", events="{INSERT}")
    while_it_runs(stage, "member", "SELECT * FROM webhook_preview('hook', 'INSERT', '{\"id\": 1, \"l\": \"a\"}')", late)


def test_a_row_that_is_nested_too_deeply_is_an_error(stage):
    stage.webhook("member", events="{a.*}")
    nested = """DO $$DECLARE r record; BEGIN
        SELECT 1 AS a INTO r;
        FOR i IN 1..20000 LOOP SELECT r AS a INTO r; END LOOP;
        PERFORM webhook_invoke('hook', r);
    END$$"""
    assert stage.tries("member", nested) == "54001"
