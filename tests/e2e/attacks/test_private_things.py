"""Tables, secrets and header values go to nobody but those who were meant to have them."""

import base64

import psycopg
import pytest

SECRET = "a very private signing key of 32+"
HEADER = "Bearer of-a-very-private-token"


def set_out(stage, receiver=None):
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int, note text); GRANT INSERT ON tabler.t TO writer")
    stage.webhook(
        "tabler", url=receiver.url("/") if receiver else "http://127.0.0.1:9/", table_name="tabler.t",
        signature="sha256", secret=SECRET, headers='{"authorization": "%s"}' % HEADER,
    )
    stage.run("writer", "INSERT INTO tabler.t VALUES (1, 'private words')")


@pytest.mark.parametrize("who", ["nobody", "writer", "viewer", "stranger", "admin"])
def test_no_private_table_is_read_or_written(stage, who):
    set_out(stage)
    tables = [row[0] for row in stage.superuser.execute("""
        SELECT c.oid::regclass::text FROM pg_class AS c
        WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind IN ('r', 'p', 'S')
           OR c.relnamespace = 'webhook'::regnamespace AND c.relkind = 'v' AND c.relname IN ('visible', 'delivery', 'backlog')
    """).fetchall()]
    assert len(tables) > 20
    for table in tables:
        for statement in (f"SELECT * FROM {table}", f"DELETE FROM {table}", f"TRUNCATE {table}",
                          f"LOCK TABLE {table} IN ACCESS SHARE MODE", f"COPY {table} TO STDOUT", f"ANALYZE {table}",
                          f"SELECT nextval('{table}')", f"CREATE TRIGGER x AFTER INSERT ON {table} EXECUTE FUNCTION webhook.capture()"):
            try:
                with stage.as_(who).transaction():
                    stage.as_(who).execute(statement)
            except psycopg.Error:
                continue
            assert statement.startswith("ANALYZE"), f"{who}: {statement}"


VIEWS = ["webhooks", "deliveries", "attempts", "dead_letters", "stats"]


def test_nobody_else_sees_the_webhook(stage):
    set_out(stage)
    for view in VIEWS:
        assert stage.tries("nobody", f"SELECT * FROM webhook.{view}") == "42501"
        for who in ("viewer", "stranger"):
            assert stage.run(who, f"SELECT * FROM webhook.{view}").fetchall() == []


def test_no_view_shows_a_secret(stage):
    set_out(stage)
    for who in ("viewer", "stranger", "admin", "tabler"):
        for view in (*VIEWS, "worker"):
            text = str(stage.run(who, f"SELECT v::text FROM webhook.{view} AS v").fetchall())
            assert SECRET not in text and HEADER not in text
    shown = str(stage.run("tabler", "SELECT * FROM webhook_preview('hook', 'INSERT', '{}')").fetchall())
    assert SECRET not in shown and HEADER not in shown


def test_a_leaky_operator_sees_no_row_of_others(stage):
    set_out(stage)
    before = len(stage.cluster.log_text())
    stage.as_("stranger").execute("""
        CREATE FUNCTION stranger.leak(text, text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS
            $$BEGIN RAISE LOG 'leaked: %', $1; RETURN true; END$$;
        CREATE OPERATOR stranger.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = stranger.leak)
    """)
    for view, column in (("webhooks", "name"), ("deliveries", "payload"), ("attempts", "error"), ("dead_letters", "payload")):
        stage.run("stranger", f"SELECT * FROM webhook.{view} WHERE {column} OPERATOR(stranger.===) 'x'")
    assert "leaked" not in stage.cluster.log_text()[before:]


@pytest.mark.parametrize("by", ["webhook_test('hook')", "webhook_resume('hook')"])
def test_header_values_do_not_go_to_an_admins_own_url(stage, receiver, make_receiver, by):
    mine = make_receiver()
    set_out(stage, receiver)
    receiver.wait(1)
    stage.tries("admin", "SELECT webhook_update('hook', url => %s)", mine.url("/taken"))
    stage.tries("admin", f"SELECT * FROM {by}")
    stage.run("writer", "INSERT INTO tabler.t VALUES (2, 'more')")
    mine.wait(1)
    for request in mine.got():
        assert HEADER not in str(request.headers), request.headers


def test_ones_own_header_values_go_along(stage, receiver, make_receiver):
    other = make_receiver()
    set_out(stage, receiver)
    stage.run("tabler", "SELECT webhook_update('hook', url => %s)", other.url("/moved"))
    stage.run("writer", "INSERT INTO tabler.t VALUES (2, 'more')")
    assert other.wait(1)[0].headers["authorization"] == HEADER


DEFAULTS = [
    "GRANT SELECT ON TABLES TO nobody", "GRANT ALL ON TABLES TO PUBLIC", "GRANT TRIGGER ON TABLES TO nobody",
    "GRANT ALL ON SEQUENCES TO nobody", "GRANT EXECUTE ON FUNCTIONS TO nobody", "GRANT ALL ON SCHEMAS TO nobody",
    "GRANT USAGE ON TYPES TO nobody",
]


@pytest.mark.parametrize("default", DEFAULTS)
def test_default_privileges_open_nothing(stage, default):
    stage.superuser.execute("DROP EXTENSION pg_webhook")
    before = objects(stage, "CREATE EXTENSION pg_webhook")
    stage.superuser.execute("DROP EXTENSION pg_webhook")
    stage.superuser.execute(f"ALTER DEFAULT PRIVILEGES {default}")
    after = objects(stage, "CREATE EXTENSION pg_webhook")
    assert after == before
    stage.takes_these_rights()


def objects(stage, statement):
    """What roles may do with each object of the extension, after a statement."""
    stage.superuser.execute(statement)
    return set(stage.superuser.execute("""
        WITH member AS (
            SELECT d.classid, d.objid FROM pg_depend AS d
            WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
              AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_webhook')
        ), acl (name, owner, acl, kind) AS (
            SELECT c.oid::regclass::text, c.relowner, c.relacl, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char"
            FROM member AS m JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
            UNION ALL
            SELECT p.oid::regprocedure::text, p.proowner, p.proacl, 'f'
            FROM member AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
            UNION ALL
            SELECT n.nspname::text, n.nspowner, n.nspacl, 'n'
            FROM member AS m JOIN pg_namespace AS n ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
        )
        SELECT a.name, x.grantee::regrole::text, x.privilege_type
        FROM acl AS a CROSS JOIN LATERAL aclexplode(coalesce(a.acl, acldefault(a.kind, a.owner))) AS x
        WHERE x.grantee <> a.owner
    """).fetchall())


FUNCTIONS = [
    "webhook_create('x', 'http://127.0.0.1:9/')", "webhook_update('hook')", "webhook_delete('hook')",
    "webhook_watch('hook', 'tabler.t')", "webhook_unwatch('hook', 'tabler.t')", "webhook_pause('hook')",
    "webhook_resume('hook')", "webhook_test('hook')", "webhook_preview('hook', 'INSERT', '{}')",
    "webhook_rotate_secret('hook')", "webhook_replay(1)", "webhook_replay_all('hook')", "webhook_cancel(1)",
    "webhook_cancel_all('hook')", "webhook_wait(1)", "webhook_cancel_job(1)",
    "webhook_invoke('hook', ROW(1))",
]


def test_to_a_stranger_the_webhook_does_not_exist(stage):
    set_out(stage)
    for call in FUNCTIONS:
        assert stage.tries("stranger", f"SELECT {call}") == (None if "create" in call else "42704"), call


def test_without_a_level_no_function_is_called(stage):
    set_out(stage)
    for who in ("nobody", "writer", "viewer"):
        for call in FUNCTIONS:
            assert stage.tries(who, f"SELECT {call}") == "42501", (who, call)


@pytest.mark.parametrize("who", ["nobody", "viewer", "member"])
def test_levels_are_changed_by_admins_only(stage, who):
    calls = [f"webhook_grant('{who}', 'admin')", "webhook_revoke('admin', 'admin')", "webhook_arm()"]
    for call in calls:
        assert stage.tries(who, f"SELECT {call}") == "42501"
    # EXECUTE comes with GRANT ... ON ALL FUNCTIONS; it is not enough.
    stage.superuser.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {who}; GRANT USAGE ON SCHEMA webhook TO {who}")
    stage.takes_these_rights()
    for call in calls:
        assert stage.tries(who, f"SELECT {call}") == "42501"


def test_the_name_of_a_strangers_webhook_is_no_secret_to_find_out(stage):
    """A name is free for each owner, so it does not tell that somebody else has one of that name."""
    set_out(stage)
    stage.webhook("stranger")
    assert stage.tries("stranger", "SELECT webhook_pause('hook')") is None
    assert stage.value("tabler", "SELECT health FROM webhook.webhooks WHERE name = 'hook'") != "paused"
    assert stage.tries("admin", "SELECT webhook_pause('hook')") == "42725"
    assert stage.tries("stranger", "SELECT webhook_create('hook', 'http://127.0.0.1:9/')") == "42710"


def test_nobody_can_keep_a_name_from_others(stage):
    locks = ("SELECT pg_advisory_lock(c.oid::int, hashtext('mine')) FROM pg_class AS c WHERE c.relname IN ('webhook', 'level')",
             "SELECT pg_advisory_lock(hashtext('mine'))")
    for lock in locks:
        stage.as_("nobody").execute(lock)
    stage.as_("member").execute("SET statement_timeout = '5s'")
    stage.webhook("member", "mine")
    stage.as_("nobody").execute("SELECT pg_advisory_unlock_all()")


HEADERS = [
    '{"Host": "x"}', '{"Content-Length": "1"}', '{"Transfer-Encoding": "chunked"}', '{"webhook-id": "x"}',
    '{"X": "a\\r\\nHost: b"}', '{"Connection": "close"}', '{"Content-Type": "text/plain"}', '{"": "x"}', '[]', '"x"',
]


def test_headers_that_would_change_the_request_are_refused(stage):
    for header in HEADERS:
        assert stage.tries("member", "SELECT webhook_create('h', 'http://127.0.0.1:9/', headers => %s)", header) == "22023"


def test_forty_thousand_headers_are_refused(stage):
    many = "(SELECT jsonb_object_agg('x-' || i, 'v') FROM generate_series(1, 40000) AS i)"
    assert stage.tries("member", f"SELECT webhook_create('h', 'http://127.0.0.1:9/', headers => {many})") == "22023"


URLS = [
    "http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://[fd00:ec2::23]/", "http://[::ffff:169.254.169.254]/",
    "http://0/", "http://10.0.0.1/", "http://user@127.0.0.1/", "http://127.0.0.1/#f", "file:///etc/passwd",
]


def test_no_request_goes_where_it_must_not(stage):
    for url in URLS:
        assert stage.tries("member", "SELECT webhook_create('h', %s)", url) == "22023", url


def test_a_signature_header_is_no_place_for_ten_thousand_characters(stage):
    assert stage.tries("member", "SELECT webhook_create('h', 'http://127.0.0.1:9/', signature_header => repeat('x', 20000))") == "22023"
    call = "SELECT webhook_create('h', 'http://127.0.0.1:9/', signature => 'timestamped', signature_header => 'X-Webhook-Signature')"
    assert stage.tries("member", call) == "22023"


@pytest.mark.parametrize("setting", ["pg_webhook.context", "pg_webhook.session_variables", "hasura.user"])
def test_a_session_makes_no_body_beyond_the_limit(stage, setting):
    set_out(stage)
    stage.webhook("tabler", "second", table_name="tabler.t", format="hasura")
    stage.as_("writer").execute(f"SELECT set_config('{setting}', to_json(repeat('x', 20000000))::text, false)"
                                if "context" not in setting else
                                f"SELECT set_config('{setting}', json_build_object('k', repeat('x', 20000000))::text, false)")
    stage.run("writer", "INSERT INTO tabler.t VALUES (2, 'a')")
    assert stage.value("tabler", "SELECT max(octet_length(payload)) FROM webhook.deliveries") <= 2**20


def test_requests_of_one_session_leave_no_threads(stage):
    session = stage.as_("member")
    pid = session.info.backend_pid
    for _ in range(60):
        stage.tries("member", "SELECT webhook_create('h', 'http://nowhere.invalid/')")
        stage.tries("member", "SELECT webhook_delete('h')")
    with open(f"/proc/{pid}/status") as status:
        threads = next(int(line.split()[1]) for line in status if line.startswith("Threads"))
    assert threads <= 3


def test_ids_of_deliveries_of_others_lead_nowhere(stage):
    set_out(stage)
    (id,) = stage.superuser.execute("SELECT min(id) FROM webhook.deliveries").fetchone()
    for call in ("webhook_replay", "webhook_cancel"):
        assert stage.tries("stranger", f"SELECT {call}({id})") == "42704"
        assert stage.tries("stranger", f"SELECT {call}({id + 1000})") == "42704"


def test_a_secret_that_is_no_base64_is_no_oracle(stage):
    good = "whsec_" + base64.b64encode(b"x" * 32).decode()
    assert stage.tries("member", "SELECT webhook_create('h', 'http://127.0.0.1:9/', secret => %s)", good) is None
    assert stage.tries("member", "SELECT webhook_create('i', 'http://127.0.0.1:9/', secret => 'whsec_!!!!!!!!!!!!!!!!')") == "22023"
