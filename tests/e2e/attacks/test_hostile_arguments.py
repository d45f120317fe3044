"""Values, names and texts that are made to be taken for something else."""

import json

import psycopg
import pytest

from harness.receiver import reply
from harness.status import HEARS_NOTHING, OF_ENDPOINTS

#: What webhook_invoke may be given, and the outcome: None where that makes an event.
ROWS = {
    "cstring": ("ROW('a'::cstring)", None), "unknown": ("ROW('a')", None), "void": ("ROW(pg_sleep(0))", None),
    "catalog": ("(SELECT c FROM pg_class AS c LIMIT 1)", None), "empty": ("ROW()", None), "null": ("NULL", "22004"),
    "null-record": ("NULL::record", "22004"), "nulls": ("ROW(NULL, NULL)", None),
    "empty-array-of-records": ("ROW(ARRAY[]::record[])", None), "array-of-records": ("ROW(ARRAY[ROW(1), ROW(2)])", None),
    "two-dimensions": ("ROW(ARRAY[[ROW(1)], [ROW(2)]])", None), "domain": ("member.box_dom '(1)'", None),
    "composite": ("member.box '(1)'", None), "acl": ("(SELECT r FROM pg_roles AS r LIMIT 1)", None),
    "regclass": ("ROW('pg_class'::regclass, 'int'::regtype)", None),
    "node-tree": ("(SELECT v FROM pg_rewrite AS v LIMIT 1)", None),
    "number": ("1", "42883"), "text": ("'a'", "0A000"), "json": ("'{}'::json", "42883"), "array": ("ARRAY[1]", "42883"),
    "same-names": ("(SELECT r FROM (SELECT 1 AS a, 2 AS a) AS r)", None),
    "no-name": ("(SELECT r FROM (SELECT 1 AS \"?\") AS r)", None),
    "many-columns": ("ROW(" + ", ".join(["1"] * 1600) + ")", None), "huge": ("ROW(repeat('x', 20000000))", "54000"),
    "json-twice": ("ROW('{\"a\": 1, \"a\": 2}'::json)", None), "json-nul": ("ROW('\"\\u0000\"'::json)", None),
    "deep-json": ("ROW((repeat('[', 5000) || repeat(']', 5000))::json)", None),
    "infinity": ("ROW('infinity'::timestamptz, 'NaN'::numeric)", None),
    "unicode": ("ROW(U&'\\+01F600\\200B\\202E\\FEFF')", None), "trigger-type": ("ROW(NULL::pg_catalog.record)", None),
    "snapshot": ("ROW(pg_current_snapshot(), pg_current_xact_id())", None),
    "stats": ("(SELECT s FROM pg_statistic_ext_data AS s LIMIT 1)", "42501"),
}


@pytest.mark.parametrize("row", ROWS)
def test_any_row_is_an_event_or_an_error(stage, row):
    value, outcome = ROWS[row]
    stage.as_("member").execute("CREATE TYPE member.box AS (a int); CREATE DOMAIN member.box_dom AS member.box")
    stage.webhook("member")
    got = stage.tries("member", f"SELECT webhook_invoke('hook', {value})")
    assert got == outcome
    stage.run("member", "SELECT payload::json FROM webhook.deliveries")


#: Names of webhooks, tables, columns, types of events and roles.
EVIL = [
    "x'; ALTER ROLE member SUPERUSER; --", 'x"; ALTER ROLE member SUPERUSER; --', "x\n\\! id\nALTER ROLE member SUPERUSER;",
    "%s%n%1$I", "{0}{member}", "$1",
    "\\'); ALTER ROLE member SUPERUSER; --", "é" * 30, "\u202eevil", "a\u0001b", "*", "/*", "--", ";", "''", "Ω\u200b",
    "\U0001f600",
]


@pytest.mark.parametrize("name", EVIL)
def test_names_are_names(stage, name):
    """Also in what a superuser is told to run, as webhook_check does."""
    member = stage.as_("member")
    quoted = '"' + name.replace('"', '""') + '"'
    member.execute(f"CREATE TABLE member.{quoted} (id int PRIMARY KEY, {quoted} text)")
    made = stage.tries("member", "SELECT webhook_create(%s, 'http://127.0.0.1:9/', %s::regclass, description => %s)", name,
        f"member.{quoted}", name)
    assert made in (None, "22023")
    hook = name if made is None else "plain"
    if made:
        stage.webhook("member", "plain", table_name=f"member.{quoted}")
    stage.run("member", "SELECT webhook_update(%s, columns => %s, payload_columns => %s)", hook, ["id"], ["id"])
    member.execute(f"INSERT INTO member.{quoted} VALUES (1, 'a')")
    triggers = [row[0] for row in stage.superuser.execute(
        "SELECT quote_ident(tgname) FROM pg_trigger WHERE tgfoid = 'webhook.capture'::regproc ORDER BY 1"
    ).fetchall()]
    member.execute(f"ALTER TABLE member.{quoted} DISABLE TRIGGER {triggers[0]}; ALTER TRIGGER {triggers[1]} ON member.{quoted} RENAME TO {quoted}")
    member.execute(f"DROP TRIGGER {triggers[2]} ON member.{quoted}")
    for who in ("admin", "postgres"):
        said = stage.run(who, "SELECT problem, hint FROM webhook_check()").fetchall()
        assert len(said) >= 3
    for _, hint in said:
        if hint.startswith(("ALTER", "DROP")):
            # As one statement: a second one in it would be an error of the protocol.
            stage.superuser.execute(hint, prepare=True)
    assert stage.value("postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'member'") is False
    assert stage.run("postgres", "SELECT * FROM webhook_preview(%s, 'INSERT', '{\"id\": 1}')", hook).fetchone()
    member.execute(f"DROP TABLE member.{quoted}")
    for _, hint in stage.run("postgres", "SELECT problem, hint FROM webhook_check()").fetchall():
        if "webhook_unwatch" in hint:
            stage.superuser.execute(hint[hint.index("SELECT"):].rstrip("."), prepare=True)
    left = stage.run("member", f"SELECT problem FROM webhook_check() WHERE NOT {OF_ENDPOINTS}").fetchall()
    assert left == [(HEARS_NOTHING,)]


#: A uuid in the ways in which PostgreSQL reads it.
def spellings(uuid):
    return [uuid, uuid.upper(), "{" + uuid + "}", uuid.replace("-", ""), uuid.replace("-", "").upper(), " " + uuid, uuid + " "]


def test_the_uuid_of_a_webhook_is_no_name_of_another(stage):
    """An admin who says a uuid means the one of that uuid."""
    stage.webhook("tabler", "theirs", events="{a.*}")
    (uuid,) = stage.superuser.execute("SELECT id::text FROM webhook.webhooks WHERE name = 'theirs'").fetchone()
    for spelling in spellings(uuid):
        made = stage.tries("stranger", "SELECT webhook_create(%s, 'http://127.0.0.1:9/')", spelling)
        if made is None:
            # Then that spelling is no uuid to us.
            stage.run("stranger", "SELECT webhook_delete(%s)", spelling)
            assert stage.tries("tabler", "SELECT webhook_pause(%s)", spelling) == "42704", spelling
        else:
            assert made == "22023"


NAMES = ["", " ", "x" * 64, "x" * 10000, "a\nb", "a\tb", "\u200b", "é" * 64]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_nobody_can_read(stage, name):
    made = stage.tries("member", "SELECT webhook_create(%s, 'http://127.0.0.1:9/', events => '{a.*}')", name)
    assert made in (None, "22023")
    if made is None:
        assert stage.tries("member", "SELECT webhook_delete(%s)", name) is None


INJECTIONS = ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rx-evil: 1", "a\x01", "é", "a b", "\u2028", "x" * 10000, ""]


@pytest.mark.parametrize("format", ["default", "truss", "fluxbase", "trst", "trulayer", "hasura", "supabase", "standard",
    "cloudevents"])
def test_no_text_becomes_a_header(stage, receiver, format):
    """The type of an event, the names of tables and webhooks, and whatever a session adds."""
    made = 0
    for number, text in enumerate(INJECTIONS):
        quoted = '"' + text.replace('"', '""') + '"'
        stage.as_("member").execute("SELECT set_config('pg_webhook.context', %s, false)", [json.dumps({text: text})])
        if not stage.tries("member", "SELECT webhook_create(%s, %s, events => %s, format => %s)", text or "none",
            receiver.url("/"), ["*"], format):
            made += 1
        elif not stage.tries("member", "SELECT webhook_create(%s, %s, events => %s, format => %s)", f"hook{number}",
            receiver.url("/"), ["*"], format):
            made += 1
        stage.tries("member", "SELECT webhook_emit(%s, '{}')", text)
        if text and len(text) < 60:
            stage.as_("member").execute(f"CREATE TABLE member.{quoted} (id int)")
            stage.run("member", "SELECT webhook_create(%s, %s, %s::regclass, '{INSERT}', format => %s)", f"table{number}",
                receiver.url("/"), f"member.{quoted}", format)
            stage.run("member", f"INSERT INTO member.{quoted} VALUES (1)")
    stage.run("member", "SELECT webhook_emit('last.one', '{}')")
    stage.database.settled()
    assert made == len(INJECTIONS)
    requests = receiver.got()
    assert len(requests) >= made
    for request in requests:
        assert "x-evil" not in {name.lower() for name in request.headers}
        json.loads(request.body)


HEADERS = [
    {"X": "a\nb"}, {"X": "a\rb"}, {"X": "a\r\n\r\nGET / HTTP/1.1"}, {"X Y": "a"}, {"X:": "a"}, {"X\n": "a"}, {"é": "a"}, {"X": 1},
    {"X": None},
    {"X": ["a"]}, {"X": {"a": "b"}}, {"x": "a", "X": "b"}, {"WebHook-Signature": "a"}, {"webhook-timestamp": "1"}, {"HOST": "a"},
    {"TE": "trailers"},
    {"Expect": "100-continue"}, {"Upgrade": "h2c"}, {"Proxy-Authorization": "a"}, {"Keep-Alive": "1"},
    {"content-encoding": "gzip"}, {":authority": "a"}, {"X": "a\u0001"},
    {"X": "\x7f"}, {"X": "a" * 1000000}, {"x" * 100000: "a"}, {"Trailer": "x"}, {"Cookie": "a\n"},
]


def test_headers_that_say_something_else(stage, receiver):
    """Refused, or sent as one line with that name and value."""
    for number, header in enumerate(HEADERS):
        made = stage.tries("member", "SELECT webhook_create(%s, %s, events => '{*}', headers => %s)", f"h{number}",
            receiver.url(f"/{number}"), json.dumps(header))
        assert made in (None, "22023"), header
        if made is None:
            stage.run("member", "SELECT webhook_emit('a', '{}')")
            stage.database.settled()
            request = receiver.got()[-1]
            assert request.path == f"/{number}"
            for name, value in header.items():
                assert request.headers[name.lower()] == value.strip(), header
            stage.run("member", "SELECT webhook_delete(%s)", f"h{number}")
    for name in ("Host", "Content-Length", "webhook-id", "X\r\nY", "X Y", "", "é", "Transfer-Encoding", "content-type",
        "Connection"):
        made = stage.tries("member", "SELECT webhook_create('s', %s, signature => 'sha256', signature_header => %s)",
            receiver.url("/"), name)
        assert made == "22023" or not name, name
        stage.tries("member", "SELECT webhook_delete('s')")


#: Ways to write the address of the metadata service of clouds, and others that nobody may reach here.
URLS = [
    "http://2852039166/", "http://0xA9FEA9FE/", "http://0251.0376.0251.0376/", "http://169.254.43518/",
    "http://169.254.169.254./",
    "http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[2002:a9fe:a9fe::]/", "http://[::169.254.169.254]/",
    "http://[fe80::1%25lo]/",
    "http://[fe80::1%lo]/", "http://[::1%25lo]/", "http://user:password@127.0.0.1/", "http://@127.0.0.1/",
    "http://127.0.0.1@169.254.169.254/",
    "http://169.254.169.254#@127.0.0.1/", "http://127.0.0.1\\@169.254.169.254/", "http://169.254.169.254\\.127.0.0.1/",
    "http://%31%36%39.254.169.254/",
    "http://127.0.0.1:99999/", "http://127.0.0.1:-1/", "http://127.0.0.1:9/\r\nX: y", "http://127.0.0.1:9/ HTTP/1.1", "http:///",
    "http://", "//127.0.0.1/", "gopher://127.0.0.1/",
    "ftp://127.0.0.1/", "unix:///tmp/.s.PGSQL.5432", "http://１６９.254.169.254/", "http://169。254。169。254/", "http://[::]/",
    "http://0.0.0.0/", "http://255.255.255.255/", "http://224.0.0.1/",
    "http://" + "a" * 64 + ".com/", "http://" + "a." * 200 + "com/", "javascript:alert(1)", "\thttp://127.0.0.1/\x01",
    "http://127.0.0.1:9/" + "x" * 100000,
]


@pytest.mark.parametrize("url", URLS, ids=range(len(URLS)))
def test_an_address_in_another_spelling_is_the_same(stage, url):
    assert stage.tries("member", "SELECT webhook_create('h', %s)", url) == "22023"


def test_a_redirect_leads_nowhere(stage, receiver, make_receiver):
    inside = make_receiver()
    for number, status in enumerate((301, 302, 303, 307, 308)):
        receiver.default(reply(status, headers={"location": inside.url("/secret")}))
        stage.webhook("member", f"h{number}", events="{a}", url=receiver.url("/"), max_retries=0)
    stage.run("member", "SELECT webhook_emit('a', '{}')")
    stage.run("member", "SELECT webhook_test('h0')")
    receiver.wait(6)
    assert inside.got() == []


def test_emitters_are_roles(stage):
    stage.webhook("member", events="{*}")
    for emitters, refused in {
        "{-}": "42704", "{0}": "42704", "{999999}": "42704", "{NULL}": "22004", "{{member}}": None, "{nobody,nobody,-}": "42704",
    }.items():
        assert stage.tries("member", "SELECT webhook_update('hook', emitters => %s::regrole[])", emitters) == refused, emitters
    assert stage.value("member", "SELECT webhook_emit('a', '{}')") == 1


@pytest.mark.parametrize("how", ["BEGIN READ ONLY", "BEGIN"])
def test_a_read_only_transaction_writes_nothing(stage, how):
    stage.webhook("member", events="{*}")
    session = stage.as_("member")
    if how == "BEGIN":
        session.execute("SET default_transaction_read_only = on")
    for call in ("webhook_create('x', 'http://127.0.0.1:9/')", "webhook_emit('a', '{}')", "webhook_invoke('hook', ROW(1))",
        "webhook_pause('hook')",
                 "webhook_update('hook', url => 'http://127.0.0.1:9/')", "webhook_delete('hook')",
                 "webhook_rotate_secret('hook')"):
        session.execute(how)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            session.execute(f"SELECT {call}")
        session.execute("ROLLBACK")
    session.execute("RESET default_transaction_read_only")
    assert stage.run("member", "SELECT name, enabled FROM webhook.webhooks").fetchall() == [("hook", True)]


#: Conditions, and the SQLSTATE of those that are refused.
CONDITIONS = {
    "NOT " * 2000 + "true": None, "(" * 2000 + "true" + ")" * 2000: None, " OR ".join(["NEW.id = 1"] * 5000): None,
    "NEW.id IN (" + ",".join(map(str, range(20000))) + ")": None, "NEW.id = '" + "1" * 100000 + "'": "22003",
    "(SELECT true)": "0A000", "EXISTS (SELECT)": "0A000", "count(*) > 1": "42803", "NEW.nothing": "42703",
    "NEW.*": "42804", "NEW": "42804", "1": "42804", "$1": "42P02", "'x'": "22P02", "NULL": None,
    "generate_series(1, 2) > 0": "0A000", "row_number() OVER () > 0": "42P20", "NEW.ctid IS NULL": None,
    "NEW.tableoid > 0": None, "NEW.xmin IS NULL": None, "current_setting('x.y') = ''": None,
    "CASE WHEN true THEN true END": None,
}


def test_conditions_that_are_too_much(stage):
    stage.as_("member").execute("CREATE TABLE member.own (id int)")
    for number, (condition, refused) in enumerate(CONDITIONS.items()):
        outcome = stage.tries("member", f"SELECT webhook_create('h{number}', 'http://127.0.0.1:9/', 'member.own', '{{INSERT}}', condition => %s)", condition)
        assert outcome == refused, condition[:50]
        if outcome is None:
            for who in ("admin", "postgres", "member"):
                stage.tries(who, f"SELECT * FROM webhook_preview('h{number}', 'INSERT', '{{\"id\": 1}}')")
            stage.run("member", f"SELECT webhook_delete('h{number}')")


def test_too_large_a_row_says_nothing_that_is_hidden(stage):
    """Its key is not sent where the webhook's owner may not read it."""
    stage.as_("tabler").execute("""
        CREATE TABLE tabler.t (hidden text PRIMARY KEY, note text);
        GRANT SELECT (note), TRIGGER ON tabler.t TO member; GRANT INSERT ON tabler.t TO writer;
    """)
    stage.takes_these_rights()
    stage.webhook("member", table_name="tabler.t", payload_columns="{note}")
    stage.run("writer", "INSERT INTO tabler.t VALUES ('a secret', repeat('x', 3000000))")
    [(payload,)] = stage.run("member", "SELECT payload FROM webhook.deliveries").fetchall()
    assert "a secret" not in payload and json.loads(payload)["truncated"]


@pytest.mark.parametrize("context", ['{"a": 1, "a": 2}', "[]", "1", "", "{", '{"a": "\\u0000"}', "null",
    '{"' + "k" * 100000 + '": 1}', '"' + "x" * 10 + '"', "{}" * 2, '{"a": 1e999999}'])
def test_a_context_that_is_no_object(stage, context):
    """It is checked where it is set, or does no harm where it is used."""
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int); GRANT INSERT ON tabler.t TO writer")
    stage.webhook("tabler", table_name="tabler.t")
    try:
        stage.as_("writer").execute("SELECT set_config('pg_webhook.context', %s, false)", [context])
    except psycopg.Error as error:
        assert error.sqlstate == "22023"
    stage.run("writer", "INSERT INTO tabler.t VALUES (1)")
    [(payload,)] = stage.run("tabler", "SELECT payload FROM webhook.deliveries").fetchall()
    assert json.loads(payload)["record"] == {"id": 1}


def test_statistics_of_private_tables_are_private(stage):
    stage.webhook("tabler", signature="sha256", secret="a very private signing key")
    stage.superuser.execute("ANALYZE")
    for who in ("nobody", "viewer", "member", "admin"):
        assert stage.run(who, "SELECT * FROM pg_stats WHERE schemaname = 'webhook'").fetchall() == []
        assert stage.run(who, "SELECT * FROM pg_stats_ext WHERE schemaname = 'webhook'").fetchall() == []
        assert stage.value(who, "SELECT count(last_value) FROM pg_sequences WHERE schemaname = 'webhook'") == 0
        assert stage.tries(who, "SELECT pg_logical_emit_message(true, 'x', 'y')") is None
        assert "private signing key" not in str(stage.run(who, "SELECT query FROM pg_stat_activity").fetchall())
    for who in ("nobody", "viewer", "member", "admin"):
        for statement in ("CREATE STATISTICS {0}.s ON id, name FROM webhook.webhook", "CREATE INDEX ON webhook.webhook (name)",
            "CREATE RULE r AS ON INSERT TO webhook.event DO ALSO NOTIFY x",
                          "CREATE POLICY p ON webhook.webhook", "ALTER TABLE webhook.webhook ENABLE ROW LEVEL SECURITY",
                          "CREATE PUBLICATION p FOR TABLE webhook.secret",
                          "CREATE TABLE {0}.c () INHERITS (webhook.webhook)",
                          "CREATE TABLE {0}.p PARTITION OF webhook.event DEFAULT", "CREATE TABLE {0}.l (LIKE webhook.secret)",
                          "CREATE TABLE {0}.f (w int REFERENCES webhook.webhook)",
                          "CREATE OR REPLACE VIEW webhook.visible AS SELECT 1", "COMMENT ON TABLE webhook.secret IS ''",
                          "CREATE TRIGGER x AFTER INSERT ON webhook.webhook EXECUTE FUNCTION webhook.capture()",
                          "ALTER FUNCTION webhook.capture() SECURITY DEFINER",
                          "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION webhook.capture()",
                          "CLUSTER webhook.webhook USING webhook_pkey", "REFRESH MATERIALIZED VIEW webhook.webhooks"):
            assert stage.tries(who, statement.format(who)) in ("42501", "42809", "42704", "42P17"), (who, statement)


def test_a_prepared_query_of_an_admin_shows_others_their_own(stage):
    """Whoever runs it, not whoever planned it."""
    stage.webhook("tabler", events="{a.*}")
    session = stage.cluster.connect(stage.database.name)
    session.execute("SET ROLE admin; PREPARE seen AS SELECT name FROM webhook.webhooks; PREPARE sent AS SELECT count(*) FROM webhook.deliveries")
    for _ in range(7):
        assert session.execute("EXECUTE seen").fetchall() == [("hook",)]
    session.execute("SET ROLE stranger")
    assert session.execute("EXECUTE seen").fetchall() == []
    session.execute("SET ROLE nobody")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("EXECUTE seen")
    session.close()


#: What the owner of a database may set for all that connect to it, our worker too.
OF_THE_DATABASE = [
    "search_path = oper, pg_catalog", "default_transaction_read_only = on", "default_transaction_isolation = serializable",
    "statement_timeout = 1", "lock_timeout = 1",
    "row_security = off", "idle_in_transaction_session_timeout = 1", "role = nobody", "quote_all_identifiers = on",
    "transform_null_equals = on", "array_nulls = off",
    "standard_conforming_strings = off", "bytea_output = escape", "DateStyle = 'German'", "IntervalStyle = sql_standard",
    "extra_float_digits = -15", "client_encoding = LATIN1",
    "default_tablespace = nowhere", "default_table_access_method = heap", "pg_webhook.capture = off", "work_mem = 64",
    "force_parallel_mode = on", "plan_cache_mode = force_generic_plan", "TimeZone = 'Asia/Kathmandu'", "xmloption = document",
    "default_transaction_deferrable = on", "synchronous_commit = off",
]


def test_the_owner_of_a_database_does_not_rule_the_worker(stage, receiver):
    """Its settings hold for the worker too when that starts, and its schema is in the path before pg_catalog."""
    stage.superuser.execute(f'ALTER DATABASE "{stage.database.name}" OWNER TO oper')
    stage.takes_these_rights()
    stage.spy("oper")
    oper = stage.as_("oper")
    for number, kind in enumerate(("int", "bigint", "text", "oid", "xid8", "timestamptz", "boolean", "smallint")):
        oper.execute(f"""
            CREATE FUNCTION oper.op{number}({kind}, {kind}) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN oper.spy(1); END';
            CREATE OPERATOR oper.= (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = oper.op{number});
            CREATE OPERATOR oper.< (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = oper.op{number});
        """)
    oper.execute("CREATE FUNCTION oper.now() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN PERFORM oper.spy(1); RETURN NULL; END'")
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int); GRANT INSERT ON tabler.t TO writer")
    stage.webhook("tabler", table_name="tabler.t", url=receiver.url("/"))
    stage.may_run_as("oper", "oper")
    stage.as_("writer").execute("SELECT 1")
    for setting in OF_THE_DATABASE:
        stage.tries("oper", f'ALTER DATABASE "{stage.database.name}" SET {setting}')
    before = stage.database.worker()
    stage.superuser.execute("SELECT pg_terminate_backend(%s)", [stage.database.wait_for_worker()])
    stage.database.wait_for_worker(60, other_than=before)
    stage.run("writer", "INSERT INTO tabler.t VALUES (1)")
    receiver.wait(1, timeout=60)
    assert stage.spied() == []
    stage.superuser.execute(f'ALTER DATABASE "{stage.database.name}" RESET ALL')


def test_a_schema_of_our_name_is_an_error_and_no_home(stage):
    """The owner of a database has made it before, with tables like ours."""
    stage.superuser.execute("DROP EXTENSION pg_webhook")
    stage.superuser.execute(f'ALTER DATABASE "{stage.database.name}" OWNER TO oper')
    stage.takes_these_rights()
    stage.spy("oper")
    stage.as_("oper").execute("""
        CREATE SCHEMA webhook; CREATE TABLE webhook.webhook (id int, name text); CREATE TABLE webhook.event (id bigint);
        CREATE DOMAIN webhook.owner_0123456789abcdef0123456789abcdef AS boolean;
        CREATE FUNCTION webhook.capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM oper.spy(1); RETURN NULL; END';
    """)
    assert stage.tries("postgres", "CREATE EXTENSION pg_webhook") == "42P06"
    assert stage.spied() == []
    stage.as_("oper").execute("DROP SCHEMA webhook CASCADE")


def test_a_role_of_the_schemas_name_finds_nothing_to_own(stage):
    """With "$user" in the search path its unqualified names are looked for in our schema."""
    stage.superuser.execute("CREATE ROLE webhook LOGIN")
    stage._groups.append("webhook")
    stage.takes_these_rights()
    session = stage.cluster.connect(stage.database.name, user="webhook")
    session.execute('SET search_path = "$user", public')
    for statement in ("CREATE TABLE t (id int)", "CREATE DOMAIN owner_x AS boolean", "SELECT * FROM secret",
        "INSERT INTO level (role, name, level, schema_usage) VALUES ('webhook'::regrole, 'webhook', 'admin', true)",
                      "DELETE FROM webhook", "SELECT nextval('delivery_id_seq')",
                      "CREATE OR REPLACE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(statement)
    session.close()


def test_every_advisory_lock_of_a_session_stops_nobody(stage, receiver):
    """Whatever number somebody locks, none of it is ours."""
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int); GRANT INSERT ON tabler.t TO writer")
    stage.webhook("tabler", table_name="tabler.t", url=receiver.url("/"))
    held = stage.superuser.execute("SELECT DISTINCT classid::bigint, objid::bigint FROM pg_locks WHERE locktype = 'advisory'").fetchall()
    nobody = stage.as_("nobody")
    for one, two in held + [(0, 0), (1, 1)]:
        nobody.execute("SELECT pg_try_advisory_lock(%s), pg_try_advisory_lock(%s::int, %s::int)",
            [(one << 32 | two) - (1 << 64 if one >> 31 else 0), one - (1 << 32 if one >> 31 else 0),
            two - (1 << 32 if two >> 31 else 0)])
    nobody.execute("SELECT pg_advisory_lock(oid::bigint), pg_advisory_lock(oid::int, 0), pg_advisory_lock(0, oid::int) FROM pg_class WHERE relnamespace = 'webhook'::regnamespace")
    before = stage.database.wait_for_worker()
    stage.superuser.execute("SELECT pg_terminate_backend(%s)", [before])
    stage.database.wait_for_worker(60, other_than=before)
    stage.as_("writer").execute("SET lock_timeout = '5s'")
    stage.run("writer", "INSERT INTO tabler.t VALUES (1)")
    stage.webhook("tabler", "second", events="{a}")
    receiver.wait(1, timeout=60)
    nobody.execute("SELECT pg_advisory_unlock_all()")
