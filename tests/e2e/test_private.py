"""What is private stays so: secrets in the server's log, private tables under default privileges, and
header values under an admin. All of it is tried by ordinary roles."""

import json
import pathlib
import re

import psycopg
import pytest

from harness import wait_until
from harness.major import MAJOR
from harness.receiver import reply

TOKEN = "t0ps3cret-header-value"
GIVEN = "a given secret of words"


def refused(connection, statement, *arguments):
    """Run a statement that must fail; return its SQLSTATE."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement, arguments or None)
    return caught.value.diag.sqlstate


@pytest.fixture
def role(make_db):
    """Makes roles with a level, a schema and a table `things`; returns a connection for each."""
    made = []

    def role(db, name, level=None):
        full = f"{db.name}_{name}"
        db.run(f"CREATE ROLE {full} LOGIN")
        db.run(f"CREATE SCHEMA {full} AUTHORIZATION {full}")
        connection = db.cluster.connect(db.name, user=full)
        connection.execute("CREATE TABLE things (id int PRIMARY KEY)")
        if level:
            db.run("SELECT webhook_grant(%s, %s)", full, level)
        made.append((db, full, connection))
        return connection

    yield role
    for db, full, connection in made:
        connection.close()
        if db.cluster.running() and not db.connection.closed:
            db.run(f"DROP OWNED BY {full} CASCADE; DROP ROLE {full}")


# --- secrets and the server's log -------------------------------------------------------------------


# Debian's own, for the major that it has: what is in other places is not built for the server that is tested.
PGAUDIT = pathlib.Path(f"/usr/lib/postgresql/{MAJOR}/lib/pgaudit.so")

CHATTY = {
    "auto_explain": {
        "session_preload_libraries": "'auto_explain'",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_nested_statements": "on",
        "auto_explain.log_analyze": "on",
        "auto_explain.log_verbose": "on",
        "auto_explain.log_parameter_max_length": "-1",
    },
    "pgaudit": {
        "shared_preload_libraries": f"'pg_webhook, {PGAUDIT}'",
        "pgaudit.log": "'all'",
        "pgaudit.log_catalog": "on",
        "pgaudit.log_parameter": "on",
        "pgaudit.log_rows": "on",
    },
}
ALL_STATEMENTS = {"log_parameter_max_length": "-1", "log_statement": "'all'", "log_min_messages": "debug1"}


@pytest.fixture(params=["auto_explain", pytest.param("pgaudit", marks=pytest.mark.skipif(not PGAUDIT.exists(), reason="not there"))])
def chatty(request, own_cluster, make_db):
    """A database of a server that logs all it can of every statement, nested ones with their parameters."""
    db = make_db(own_cluster(**CHATTY[request.param], **ALL_STATEMENTS))
    # That it does: auto_explain of 16 and later logs the parameter, that of 15 shows it in the plan.
    db.run("CREATE FUNCTION nested(t text) RETURNS void LANGUAGE plpgsql AS"
           " $$BEGIN EXECUTE 'SELECT upper($1)' USING t; END$$")
    db.run("SELECT nested('seen in ' || 'parameters')")
    assert db.cluster.log_lines("(?i)seen in parameters")
    return db


def lines_with(server, word):
    """Where a word stands in the log, without the prefix of each line."""
    return [re.sub(r"^.*? (LOG|STATEMENT|DEBUG): +", "", line) for line in server.log_lines(re.escape(word))]


def test_generated_secrets_are_nowhere_in_the_log(chatty, role, receiver):
    member = role(chatty, "mem", "member")
    url = receiver.url("/")
    [first] = member.execute("SELECT secret FROM webhook_create('hook', %s, 'things')", [url]).fetchone()
    [second] = member.execute("SELECT webhook_rotate_secret('hook')").fetchone()
    [third] = member.execute("SELECT webhook_rotate_secret('hook', '0')").fetchone()
    member.execute("SELECT webhook_update('hook', timeout_seconds => 5)")
    member.execute("SELECT FROM webhook_preview('hook', 'INSERT', '{}')")
    member.execute("SELECT FROM webhook_test('hook')")
    for secret in (first, second, third):
        assert secret.startswith("whsec_")
        assert lines_with(chatty.cluster, secret) == lines_with(chatty.cluster, secret[6:]) == []


def test_given_secrets_and_headers_are_in_the_log_only_where_they_were_typed(chatty, role, receiver):
    member = role(chatty, "mem", "member")
    url = receiver.url("/")
    statements = [
        f"SELECT FROM webhook_create('hook', '{url}', 'things', signature => 'sha256', secret => '{GIVEN}',"
        f""" headers => '{{"X-Token": "{TOKEN}"}}')""",
        "SELECT webhook_update('hook', description => 'the same secrets')",
        f"SELECT webhook_update('hook', secret => '{GIVEN} again')",
        f"""SELECT webhook_update('hook', headers => '{{"X-Token": "{TOKEN}", "X-More": "1"}}')""",
        "SELECT FROM webhook_test('hook')",
        "SELECT webhook_rotate_secret('hook')",
    ]
    for statement in statements:
        member.execute(statement)
    for word in (GIVEN, TOKEN):
        lines = lines_with(chatty.cluster, word)
        assert lines
        for line in lines:
            # The statement, and in its plan the call of the function.
            assert re.search(r"\bwebhook_(create|update)\(", line), line
    # All of it is in force, and stays when something else changes.
    [sent] = receiver.wait(1)
    assert sent.headers["x-token"] == TOKEN and sent.headers["x-more"] == "1"


def test_what_is_written_without_statements_is_what_statements_wrote(db, role, receiver):
    """Each way to change a secret or a header: what is left out stays, and a ROLLBACK undoes it."""
    member = role(db, "mem", "member")
    stored = lambda: db.rows(
        "SELECT signing_key, headers, previous_keys, ARRAY(SELECT until > now() FROM unnest(previous_until) AS until) FROM webhook.secret"
    )
    [key] = member.execute(
        "SELECT secret FROM webhook_create('hook', %s, headers => '{\"X-A\": \"1\"}')", [receiver.url("/")]
    ).fetchone()
    assert stored() == [(key, {"X-A": "1"}, [], [])]
    with pytest.raises(ZeroDivisionError), member.transaction():
        member.execute("SELECT webhook_rotate_secret('hook')")
        raise ZeroDivisionError
    assert stored() == [(key, {"X-A": "1"}, [], [])]
    [new] = member.execute("SELECT webhook_rotate_secret('hook', '1 hour')").fetchone()
    assert stored() == [(new, {"X-A": "1"}, [key], [True])]
    member.execute("SELECT webhook_update('hook', headers => '{}')")
    assert stored() == [(new, {}, [key], [True])]
    given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with member.transaction():
        member.execute("SELECT webhook_update('hook', headers => %s::jsonb)", [json.dumps({"X-B": "x" * 8000})])
        member.execute("SELECT webhook_update('hook', secret => %s)", [given])
    assert stored() == [(given, {"X-B": "x" * 8000}, [], [])], "a new secret ends a rotation"
    # The rows and their indexes agree, also with an index that an administrator has added.
    db.run("CREATE INDEX mine ON webhook.secret (length(signing_key)) WHERE headers <> '{}'")
    member.execute("SELECT webhook_update('hook', headers => '{\"X-C\": \"1\"}')")
    [new] = member.execute("SELECT webhook_rotate_secret('hook', '0')").fetchone()
    for setting in ("enable_seqscan", "enable_indexscan"):
        with db.connection.transaction():
            db.run(f"SET LOCAL {setting} = off; SET LOCAL enable_bitmapscan = off")
            assert db.value("SELECT signing_key FROM webhook.secret WHERE webhook > 0 ORDER BY webhook") == new
            assert db.value(
                "SELECT count(*) FROM webhook.secret WHERE length(signing_key) > 1 AND headers <> '{}'"
            ) == 1
    # After a restore there is no row, because dumps carry none.
    db.run("DELETE FROM webhook.secret")
    [new] = member.execute("SELECT webhook_rotate_secret('hook', '1 hour')").fetchone()
    assert stored() == [(new, {}, [], [])]


def test_two_changes_of_a_secret_at_once(db, role, receiver, cluster):
    """The second waits for the first and builds on it; in a snapshot that is too old it is told so."""
    member = role(db, "mem", "member")
    member.execute("SELECT webhook_create('hook', %s)", [receiver.url("/")])
    with cluster.connect(db.name, user=f"{db.name}_mem", autocommit=False) as first:
        [one] = first.execute("SELECT webhook_rotate_secret('hook')").fetchone()
        with cluster.connect(db.name, user=f"{db.name}_mem") as second:
            second.execute("SET lock_timeout = '100ms'")
            assert refused(second, "SELECT webhook_rotate_secret('hook')") == "55P03"
            second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            first.commit()
            assert refused(second, "SELECT webhook_rotate_secret('hook')") == "40001"
            second.rollback()
            second.execute("SELECT webhook_update('hook', headers => '{\"X-A\": \"1\"}')")
    assert db.rows("SELECT signing_key, headers FROM webhook.secret") == [(one, {"X-A": "1"})]


def test_no_backtrace_becomes_part_of_an_error(own_cluster, make_db, role, receiver):
    """Whatever the server's environment says: paths of the build are nobody's business."""
    server = own_cluster()
    server.stop()
    server.start(RUST_BACKTRACE="1", RUST_LIB_BACKTRACE="full")
    db = make_db(server)
    member = role(db, "mem", "member")
    member.execute("SELECT webhook_create('hook', %s, 'things')", [receiver.url("/")])
    for statement in (
        "SELECT webhook_create('other', 'http://127.0.0.1:9/', 'things', condition => 'NEW.id >')",
        "SELECT webhook_create('other', 'http://127.0.0.1:9/', 'things', condition => 'NEW.nothing')",
        "SELECT webhook_create('hook', 'no url')",
    ):
        with pytest.raises(psycopg.Error) as caught:
            member.execute(statement)
        diagnostic = caught.value.diag
        told = " ".join(filter(None, [diagnostic.message_primary, diagnostic.message_detail, diagnostic.message_hint]))
        assert ".rs" not in told and "pgrx" not in told and "0:" not in told, told
    # A preview says what is wrong with the row instead of failing.
    (told,) = member.execute("SELECT reason FROM webhook_preview('hook', 'INSERT', '{\"id\": \"x\"}')").fetchone()
    assert told == 'invalid input syntax for type integer: "x"'
    assert not server.log_lines(r"core::panicking|\.rs:\d+")


# --- private tables ---------------------------------------------------------------------------------


DEFAULTS = """
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {to};
    ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {to};
    ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO {to};
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO {to};
    ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {to};
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {to}{option};
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO {to}{option};
"""

HELD = """
    WITH member AS (
        SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
          AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_webhook')
    )
    SELECT pg_describe_object(classid, objid, 0), a.grantee::regrole::text, a.privilege_type
    FROM member
    JOIN (
        SELECT 'pg_class'::regclass, oid, relowner, relacl FROM pg_class
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
        UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner, nspacl FROM pg_namespace
        UNION ALL SELECT 'pg_type'::regclass, oid, typowner, typacl FROM pg_type
    ) AS o (classid, objid, owner, acl) USING (classid, objid)
    CROSS JOIN LATERAL aclexplode(o.acl) AS a
    WHERE a.grantee <> o.owner ORDER BY 1, 2, 3
"""


def test_default_privileges_open_nothing(cluster, make_db):
    """Whatever a superuser has told the database to give to new objects: to a role with an odd name, and to PUBLIC."""
    plain = make_db(cluster)
    as_always = plain.rows(HELD)
    plain.drop()
    db = make_db(cluster, extension=False)
    ro = f'{db.name}"ro'
    quoted = '"' + ro.replace('"', '""') + '"'
    db.run(f"CREATE ROLE {quoted} LOGIN")
    for to, option in ((quoted, " WITH GRANT OPTION"), ("PUBLIC", "")):
        db.run(DEFAULTS.format(to=to, option=option))
    db.run("CREATE TABLE mine (id int)")
    assert db.value("SELECT has_table_privilege(%s, 'mine', 'SELECT')", ro), "the defaults are in force"
    db.run("CREATE EXTENSION pg_webhook")
    assert db.rows(HELD) == as_always
    with cluster.connect(db.name, user=ro) as connection:
        for statement in (
            "SELECT * FROM webhook.secret", "SELECT payload FROM webhook.event", "SELECT * FROM webhook.event_3",
            "SELECT * FROM webhook.webhooks", "SELECT nextval('webhook.delivery_id_seq')",
            "SELECT webhook_create('hook', 'https://example.com/')", "SELECT webhook_grant('postgres', 'viewer')",
            "SELECT webhook.worker_status()",
        ):
            assert refused(connection, statement) == "42501", statement
    db.run(f"DROP OWNED BY {quoted}; DROP ROLE {quoted}")
    db.drop()


def test_default_privileges_do_not_open_what_stands_for_owners(db, people, receiver):
    """Otherwise a column of that type would keep it, and DROP OWNED would fail."""
    owner, nobody = people("own", "member"), people("nob")
    db.run(f"ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO {nobody.role}")
    owner.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    owner.run("SELECT webhook_create('hook', %s, events => '{a.b}', transform => 'shape(jsonb)')", receiver.url("/"))
    anchors = db.rows("SELECT oid::regtype::text FROM pg_type WHERE typtype = 'd' AND typname ~ '^(owner|transform)_'")
    assert len(anchors) == 2
    for [anchor] in anchors:
        assert refused(nobody.connection, f"CREATE TABLE holds (c {anchor})") == "42501", anchor
    db.run(f"ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM {nobody.role}; DROP OWNED BY {owner.role}")
    assert db.rows("SELECT FROM pg_type WHERE typtype = 'd' AND typname ~ '^(owner|transform)_'") == []


def test_nobody_keeps_a_table_of_ours_as_it_is(db, people, cluster):
    """As a column of the type of its rows does. A dump says nothing of it."""
    nobody = people("nob")
    rows = db.rows("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'webhook'::regnamespace AND reltype <> 0 AND relkind <> 'c'")
    assert len(rows) > 20
    for [name] in rows:
        for column in (name, f"{name}[]"):
            assert refused(nobody.connection, f"CREATE TABLE holds (c {column})") == "42501", column
    dump = cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", db.name).stdout
    assert "pg_dump:" not in dump and "ON TYPE" not in dump


# --- what a reader can find out ----------------------------------------------------------------------


TEXTS = {
    "webhooks": ["name", "url", "description", "last_error", "signature_header"],
    "deliveries": ["webhook", "event_type", "schema_name", "table_name", "payload", "response_body", "error", "error_class"],
    "attempts": ["response_body", "error", "error_class"],
    "dead_letters": ["webhook", "event_type", "schema_name", "table_name", "payload", "response_body", "error", "error_class"],
    "stats": ["webhook"],
}


@pytest.mark.parametrize("view, column", [(view, column) for view, columns in TEXTS.items() for column in columns])
def test_no_plan_tells_what_the_rows_of_others_say(db, people, receiver, view, column):
    """PostgreSQL tries a reader's condition on rows that it may not see, where the operator itself tells nothing, and
    EXPLAIN ANALYZE counts the rows that pass: enough to guess any text letter by letter."""
    owner, viewer = people("own", "member"), people("vie", "viewer")
    receiver.default(reply(500, body=b"secret answer"))
    owner.run("CREATE TABLE things (id int)")
    owner.run("SELECT webhook_create('name', %s, 'things', description => 'd', events => '{INSERT,a.b}', max_retries => 0, signature => 'hex', signature_header => 'X-Sig')", receiver.url("/"))
    owner.run("INSERT INTO things VALUES (1)")
    wait_until(lambda: owner.value("SELECT count(*) FROM webhook.dead_letters") == 1, "a dead letter")
    # Up to there it is found in the ring as well, and after that no more.
    passed = "SELECT bool_and(pg_visible_in_snapshot(e.xid, (SELECT k.snap FROM webhook.cursor AS k))) FROM webhook.event AS e"
    wait_until(lambda: db.judge.value(passed), "the cursor to pass it")
    value = owner.value(f"SELECT min({column}::text) FROM webhook.{view}")
    joins = ["hashjoin", "mergejoin", "nestloop"]
    # How many rows each of several processes sees is up to chance.
    viewer.run("SET max_parallel_workers_per_gather = 0")

    def plan(condition, text):
        # Without what differs each time.
        shown = viewer.value(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF, FORMAT JSON) SELECT 1 FROM webhook.{view} WHERE {column} {condition} $${text}$$")
        return rows_of(shown[0]["Plan"])

    assert value and viewer.value(f"SELECT count(*) FROM webhook.{view}") == 0
    for join in joins:
        viewer.run("; ".join(f"SET enable_{other} = {'on' if other == join else 'off'}" for other in joins))
        for condition in ("=", ">="):
            assert plan(condition, value) == plan(condition, value + "z"), join


def rows_of(node):
    return [node["Node Type"], node["Actual Rows"], node.get("Rows Removed by Filter", 0), *map(rows_of, node.get("Plans", []))]


def test_owners_are_found_by_an_index(db):
    """Anybody can make types, and each event asks whose the webhook is."""
    db.run("SET enable_seqscan = off")
    plan = "\n".join(row[0] for row in db.rows("EXPLAIN SELECT * FROM webhook.owned WHERE id = 1"))
    assert "pg_type_typname_nsp_index" in plan and "Seq Scan on pg_type" not in plan, plan


def test_our_tables_are_heaps_whatever_the_default(cluster, make_db, receiver):
    db = make_db(cluster, extension=False)
    db.run("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler")
    db.run(f"ALTER DATABASE {db.name} SET default_table_access_method = other")
    with db.connect() as connection:
        connection.execute("CREATE EXTENSION pg_webhook")
        connection.execute("CREATE TABLE theirs (id int)")
        methods = connection.execute(
            "SELECT DISTINCT a.amname FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam"
            " WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = 'r'"
        ).fetchall()
        assert methods == [("heap",)]
        assert connection.execute("SHOW default_table_access_method").fetchone() == ("other",)
        connection.execute("SELECT webhook_create('hook', %s, 'theirs')", [receiver.url("/")])
        connection.execute("INSERT INTO theirs VALUES (1)")
    receiver.wait(1)
    # Rows of a heap go into heaps only.
    db.run("ALTER TABLE webhook.secret SET ACCESS METHOD other")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='table "secret" is not stored as a heap'):
        db.run("SELECT webhook_rotate_secret('hook')")
    db.drop()


def test_levels_fire_no_event_trigger_as_the_owner(db, role):
    """A DDL audit looks its table up in the path, which leads to whom it may; nobody finds himself as postgres."""
    admin, member = role(db, "root", "admin"), role(db, "mem")
    db.run("CREATE TABLE public.ran (who text); GRANT INSERT ON public.ran TO PUBLIC")
    db.run(
        "CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO ran VALUES (current_user); END$$"
    )
    db.run("CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION public.log_ddl()")
    name = f"{db.name}_mem"
    admin.execute(f"GRANT USAGE ON SCHEMA {db.name}_root TO {name}")
    assert db.rows("SELECT who FROM ran") == [(f"{db.name}_root",)], "it hears GRANT"
    admin.execute("SELECT webhook_grant(%s, 'member')", [name])
    member.execute("SELECT FROM webhook.webhooks")
    admin.execute("SELECT webhook_grant(%s, 'viewer')", [name])
    admin.execute("SELECT webhook_revoke(%s, 'viewer')", [name])
    assert refused(member, "SELECT FROM webhook.webhooks") == "42501"
    assert db.rows("SELECT who FROM ran") == [(f"{db.name}_root",)]
    db.run("DROP EVENT TRIGGER log_ddl")


# --- header values ----------------------------------------------------------------------------------


def test_an_admin_takes_no_header_values_elsewhere(db, role, make_receiver, cluster):
    own, other = make_receiver(), make_receiver()
    member, admin, friend = role(db, "mem", "member"), role(db, "root", "admin"), role(db, "friend", "member")
    db.run(f"GRANT {db.name}_mem TO {db.name}_friend")
    token = json.dumps({"Authorization": TOKEN})
    warnings = []
    admin.add_notice_handler(lambda diagnostic: warnings.append((diagnostic.severity, diagnostic.message_primary)))

    def make(name):
        member.execute("SELECT webhook_create(%s, %s, 'things', headers => %s::jsonb)", [name, own.url("/"), token])

    make("hook")
    # Whatever an admin changes, as long as requests go where the owner sent them.
    admin.execute("SELECT webhook_update('hook', timeout_seconds => 5, url => %s)", [own.url("/")])
    assert warnings == []
    admin.execute("SELECT webhook_test('hook')")
    assert own.wait(1)[0].headers["authorization"] == TOKEN
    admin.execute("SELECT webhook_update('hook', url => %s)", [other.url("/")])
    [(severity, message)] = warnings
    assert severity == "WARNING" and "headers" in message and TOKEN not in message
    admin.execute("SELECT webhook_test('hook')")
    member.execute("INSERT INTO things VALUES (1)")
    for request in other.wait(2):
        assert "authorization" not in request.headers
    assert admin.execute("SELECT headers FROM webhook.webhooks").fetchone() == (None,)
    # Nor are they there again when it goes back.
    admin.execute("SELECT webhook_update('hook', url => %s)", [own.url("/")])
    admin.execute("SELECT webhook_test('hook')")
    assert "authorization" not in own.wait(2)[1].headers
    # What an admin gives goes along; nothing else does.
    member.execute("SELECT webhook_update('hook', headers => %s::jsonb)", [token])
    admin.execute(
        "SELECT webhook_update('hook', url => %s, headers => '{\"X-Mine\": \"1\"}')", [other.url("/more")]
    )
    admin.execute("SELECT webhook_test('hook')")
    [request] = other.wait(1, "/more")
    assert "authorization" not in request.headers and request.headers["x-mine"] == "1"
    assert len(warnings) == 1
    # The owner, and whoever has its rights, take them along.
    for connection, path in ((member, "/member"), (friend, "/friend")):
        member.execute("SELECT webhook_update('hook', headers => %s::jsonb)", [token])
        connection.execute("SELECT webhook_update('hook', url => %s)", [other.url(path)])
        connection.execute("SELECT webhook_test('hook')")
        assert other.wait(1, path)[0].headers["authorization"] == TOKEN
