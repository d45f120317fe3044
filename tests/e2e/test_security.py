"""Who may do what, where requests may go, and who sees a secret."""

import ipaddress
import ssl
import warnings

import psycopg
import pytest
from cryptography import x509

from harness import wait_until
from harness.certificates import authority, context_with, pem, server_context

LATER = {"retry_backoff_seconds": 3600}


@pytest.fixture
def items(db):
    """A database with a table of an ordinary role's; what is asked of it is asked by that role."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


def refused(db, statement, *arguments):
    """Run a statement that must fail; return its SQLSTATE, message and detail."""
    with pytest.raises(psycopg.Error) as caught:
        db.run(statement, *arguments)
    diagnostic = caught.value.diag
    return diagnostic.sqlstate, diagnostic.message_primary, diagnostic.message_detail


# --- privileges ------------------------------------------------------------------------------------


def test_public_gets_what_partitions_and_views_take_and_nothing_else(db):
    db.run("DROP ROLE IF EXISTS nobody_at_all")
    db.run("CREATE ROLE nobody_at_all")
    members = """
        SELECT classid::regclass::text, objid FROM pg_depend
        WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
          AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_webhook')
    """
    checks = {
        "pg_proc": "SELECT %s::regprocedure::text WHERE has_function_privilege('nobody_at_all', %s, 'EXECUTE')",
        "pg_namespace": "SELECT %s::regnamespace::text WHERE has_schema_privilege('nobody_at_all', %s, 'CREATE')",
        "pg_class": "SELECT %s::regclass::text WHERE CASE (SELECT relkind FROM pg_class WHERE oid = %s)"
                    " WHEN 'S' THEN has_sequence_privilege('nobody_at_all', %s, 'USAGE, SELECT, UPDATE')"
                    " ELSE has_table_privilege('nobody_at_all', %s,"
                    " 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END",
    }
    found = db.rows(members)
    seen = {kind: 0 for kind in checks}
    for kind, oid in found:
        if kind in checks:
            seen[kind] += 1
            granted = db.rows(checks[kind], *[oid] * checks[kind].count("%s"))
            allowed = (
                "webhook.capture()", "webhook.is_database(bigint,oid)", "webhook.manages(oid,oid)", "webhook.sees(oid,oid)",
                "webhook.bounds()", "webhook.obstacles()", "webhook.percentile(bigint[],double precision)",
                "webhook.seen_by_reader()", "webhook.told_to_reader()",
            )
            assert granted in ([], *([(name,)] for name in allowed)), granted
    assert seen["pg_proc"] >= 12 and seen["pg_class"] >= 25 and seen["pg_namespace"] == 1
    assert db.value("SELECT has_function_privilege('nobody_at_all', 'webhook.capture()', 'EXECUTE')")
    assert db.value("SELECT has_schema_privilege('nobody_at_all', 'webhook', 'USAGE')")
    with db.connect() as connection:
        connection.execute("SET ROLE nobody_at_all")
        # It reads as whoever calls it, even where the answer would need none of that.
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for view administrator"):
            connection.execute("SELECT webhook.manages('nobody_at_all'::regrole, 'nobody_at_all'::regrole)")
    db.run("DROP ROLE nobody_at_all")


def test_every_function_pins_its_search_path(db):
    # Those that resolve a caller's condition, and the trigger, do it inside: see sql/api.sql.
    unpinned = db.rows("""
        SELECT proname FROM pg_proc
        JOIN pg_depend ON classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
        JOIN pg_extension ON refobjid = pg_extension.oid AND extname = 'pg_webhook'
        WHERE NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
        ORDER BY proname
    """)
    assert [row[0] for row in unpinned] == ["capture", "webhook_apply", "webhook_create", "webhook_update", "webhook_watch"]


@pytest.fixture
def roles(items):
    """Two roles that may call every function, own a schema each, and have no rights on `items`."""
    names = [f"{items.name}_ann", f"{items.name}_bob"]
    for name in names:
        items.judge.run(f"CREATE ROLE {name} LOGIN")
        items.judge.run(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
        items.judge.run(f"GRANT USAGE ON SCHEMA webhook TO {name}")
        items.judge.run(f"GRANT SELECT ON webhook.webhooks, webhook.deliveries, webhook.attempts TO {name}")
        items.judge.run(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {name}")
    yield names
    for name in names:
        items.judge.run(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def test_rights_on_the_watched_table(items, roles, receiver, cluster):
    ann = roles[0]
    url = receiver.url("/")
    create = "SELECT * FROM webhook_create(%s, %s, 'items')"
    with cluster.connect(items.name, user=ann) as connection:
        def attempt(name):
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
                connection.execute(create, [name, url])
            return caught.value.diag.message_detail

        assert "TRIGGER" in attempt("a")
        items.run(f"GRANT TRIGGER ON items TO {ann}")
        assert "SELECT" in attempt("b")
        items.run(f"GRANT SELECT (id) ON items TO {ann}")
        assert "SELECT" in attempt("c")
        items.run(f"GRANT SELECT ON items TO {ann}")
        items.run("ALTER TABLE items ENABLE ROW LEVEL SECURITY")
        assert "row-level security" in attempt("d")
        items.run("ALTER TABLE items DISABLE ROW LEVEL SECURITY")
        connection.execute(create, ["e", url])
    assert items.judge.rows("SELECT name, owner::text FROM webhook.webhooks") == [("e", ann)]
    assert items.value("SELECT count(*) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure") == 3


def test_webhooks_of_others_do_not_exist(items, roles, receiver, cluster):
    ann, bob = roles
    with (
        cluster.connect(items.name, user=ann) as of_ann,
        cluster.connect(items.name, user=bob) as of_bob,
    ):
        for own in (of_ann, of_bob):
            own.execute("CREATE TABLE own (id int)")
        of_ann.execute(f"GRANT USAGE ON SCHEMA {ann} TO {bob}")
        uuid = of_ann.execute(
            "SELECT id FROM webhook_create('anns', %s, 'own')", [receiver.url("/")]
        ).fetchone()[0]
        of_ann.execute("INSERT INTO own VALUES (1)")
        wait_until(lambda: items.judge.rows("SELECT FROM webhook.attempts"), "the delivery")
        delivery = items.judge.value("SELECT id FROM webhook.deliveries")
        for statement, arguments in [
            ("SELECT webhook_update(%s, url => 'https://example.com/')", ["anns"]),
            ("SELECT webhook_update(%s, enabled => false)", [str(uuid)]),
            ("SELECT webhook_delete(%s)", ["anns"]),
            ("SELECT webhook_pause(%s)", ["anns"]),
            ("SELECT webhook_resume(%s)", ["anns"]),
            ("SELECT webhook_watch(%s, 'own')", ["anns"]),
            ("SELECT webhook_unwatch(%s, %s::regclass)", ["anns", f"{ann}.own"]),
            ("SELECT webhook_test(%s)", ["anns"]),
            ("SELECT webhook_replay(%s)", [delivery]),
        ]:
            with pytest.raises(psycopg.errors.UndefinedObject):
                of_bob.execute(statement, arguments)
        for view in ("webhooks", "deliveries", "attempts"):
            count = f"SELECT count(*) FROM webhook.{view}"
            assert of_bob.execute(count).fetchone() == (0,)
            assert of_ann.execute(count).fetchone() == (1,)
        assert len(receiver.got()) == 1
        of_ann.execute("SELECT webhook_delete('anns')")


def test_writers_need_no_rights_and_get_none(items, roles, receiver, cluster):
    ann = roles[0]
    items.create("hook", receiver.url("/"), table_name="items")
    items.judge.run(f"REVOKE ALL ON SCHEMA webhook FROM {ann}")
    items.judge.run(f"REVOKE ALL ON ALL TABLES IN SCHEMA webhook FROM {ann}")
    items.run(f"GRANT INSERT ON items TO {ann}")
    with cluster.connect(items.name, user=ann) as connection:
        connection.execute("INSERT INTO items VALUES (1)")
        for statement in (
            "SELECT * FROM webhook.event", "INSERT INTO webhook.event SELECT * FROM webhook.event",
            "SELECT * FROM webhook.secret", "SELECT nextval('webhook.delivery_id_seq')",
            "SELECT webhook.install()", "SELECT * FROM webhook.worker_status()", "CREATE TABLE webhook.own ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    items.wait_for_status(1)


@pytest.mark.parametrize("condition", [
    "true) EXECUTE FUNCTION evil(); DROP TABLE items; --",
    "true) EXECUTE FUNCTION evil() --",
    "true; DROP TABLE items",
    "true FROM items",
    "true WHERE true",
    "true, true",
    "true AS x",
    "true x",
    "true UNION SELECT true",
    "true ORDER BY 1",
    "true LIMIT 1",
    "true /* ",
    "'unfinished",
    "$$unfinished",
    "(SELECT true)",
    "true)",
    "",
    "*",
])
def test_a_condition_is_an_expression_and_nothing_else(items, receiver, condition):
    items.run("CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    create = "SELECT webhook_create('hook', %s, 'items', '{INSERT}', condition => %s)"
    if condition == "":
        items.run(create, receiver.url("/"), condition)  # an empty condition is none
        return
    state, _, _ = refused(items, create, receiver.url("/"), condition)
    # One is an expression, of a kind that PostgreSQL has no use for there.
    assert state == ("0A000" if condition == "(SELECT true)" else "42601")
    assert items.value("SELECT count(*) FROM webhook.webhooks") == 0
    assert items.value("SELECT count(*) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure") == 0
    assert items.value("SELECT to_regclass('items') IS NOT NULL")


def test_comments_and_quotes_in_a_condition_stay_in_it(items, receiver):
    items.create(
        "hook", receiver.url("/"), table_name="items", events=["INSERT"],
        condition="NEW.note = ') OR true -- ' /* ) */ -- )",
    )
    items.run("INSERT INTO items VALUES (1, 'x'), (2, ') OR true -- ')")
    items.wait_for_status(1)


def test_the_number_of_webhooks_is_limited(own_cluster, make_db, receiver):
    db = make_db(own_cluster(pg_webhook__max_webhooks="2"))
    for name in ("one", "two"):
        db.create(name, receiver.url("/"))
    state, message, _ = refused(db, "SELECT webhook_create('three', %s)", receiver.url("/"))
    assert (state, message) == ("53400", "the limit of 2 webhooks is reached")
    db.run("SELECT webhook_delete('one')")
    db.create("three", receiver.url("/"))


# --- secrets ---------------------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_is_nowhere_else(own_cluster, make_db, receiver):
    server = own_cluster(log_min_messages="debug1", log_statement="'all'", log_min_duration_statement="0")
    db = make_db(server).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    hook = db.create("hook", receiver.url("/"), table_name="items", **LATER)
    token = "t0ps3cret-header"
    db.run("SELECT webhook_update('hook', headers => %s::jsonb)", f'{{"Authorization": "{token}"}}')
    secret = hook["secret"]
    assert secret.startswith("whsec_") and len(secret) >= 6 + 32
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    receiver.down()
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(1, "retrying")
    seen = []
    for view in ("webhooks", "deliveries", "attempts", "worker"):
        seen += db.rows(f"SELECT v::text FROM webhook.{view} AS v")
    seen += db.rows("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure")
    dump = server._run("pg_dump", "-h", server.folder, "-U", "postgres", db.name).stdout
    for text in [*(row[0] for row in seen), dump, server.log_text()]:
        assert secret not in text and secret[6:] not in text
    for text in [*(row[0] for row in seen), dump]:
        assert token not in text
    assert db.value("SELECT headers FROM webhook.webhooks") == {"Authorization": "***"}


def test_a_dump_carries_definitions_and_no_secrets(cluster, db, make_db, receiver):
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", description="of old")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    dump = cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", db.name).stdout
    file = cluster.folder / "dump.sql"
    file.write_text(dump)
    file.chmod(0o644)
    copy = make_db(cluster, extension=False)
    restored = cluster._run(
        "psql", "-h", cluster.folder, "-U", "postgres", "-d", copy.name, "-v", "ON_ERROR_STOP=1", "-q", "-f", file,
    )
    assert restored.returncode == 0

    def as_owner(statement, *arguments):
        with cluster.connect(copy.name, user=db.owner) as owner:
            owner.execute(statement, arguments)

    assert copy.rows("SELECT name, url, description, enabled FROM webhook.webhooks") == [
        ("hook", receiver.url("/"), "of old", True)
    ]
    assert copy.value("SELECT count(*) FROM webhook.deliveries") == 0
    as_owner("INSERT INTO items VALUES (2)")
    copy.run("SELECT webhook_arm()")
    wait_until(lambda: copy.value("SELECT health FROM webhook.webhooks") == "broken", "the webhook to lack its secret")
    assert copy.rows("SELECT status, attempts FROM webhook.deliveries") == [("pending", 0)]
    assert len(receiver.got()) == 1
    # The restored database has triggers and sequences in order: with a secret it goes on.
    as_owner("SELECT webhook_update('hook', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')")
    as_owner("SELECT webhook_create('another', %s, 'items')", receiver.url("/another"))
    as_owner("INSERT INTO items VALUES (3)")
    copy.wait_for_status(3)
    copy.drop()


# --- where requests may go -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(cluster):
    """A server with the policy as it is out of the box, which also looks new names up, and a database in it."""
    from harness import Cluster
    from harness.cluster import Database

    server = Cluster(
        "strict", pg_webhook__allow_http="off", pg_webhook__allowed_networks="''", pg_webhook__require_resolvable="on"
    ).start()
    yield Database(server, "strict")
    server.destroy()


def refused_inside(db, statement, *arguments):
    """The detail of an error that leaves the transaction open."""
    with pytest.raises(psycopg.Error) as caught, db.connection.transaction():
        db.run(statement, *arguments)
    return caught.value.diag.message_detail


@pytest.mark.parametrize("url, key", [
    ("http://127.0.0.1:{port}/", "webhook.url.not_https"),
    ("ftp://127.0.0.1:{port}/", "webhook.url.not_https"),
    ("https://127.0.0.1:{port}/", "webhook.url.private_ip"),
    ("https://localhost:{port}/", "webhook.url.private_ip"),
    ("https://[::1]:{port}/", "webhook.url.private_ip"),
    ("https://[::ffff:127.0.0.1]:{port}/", "webhook.url.private_ip"),
    ("https://[::ffff:7f00:1]:{port}/", "webhook.url.private_ip"),
    ("https://2130706433:{port}/", "webhook.url.private_ip"),
    ("https://0x7f000001:{port}/", "webhook.url.private_ip"),
    ("https://0x7f.1:{port}/", "webhook.url.private_ip"),
    ("https://0177.0.0.1:{port}/", "webhook.url.private_ip"),
    ("https://127.1:{port}/", "webhook.url.private_ip"),
    ("https://0:{port}/", "webhook.url.private_ip"),
    ("https://0.0.0.0:{port}/", "webhook.url.private_ip"),
    ("https://10.0.0.1/", "webhook.url.private_ip"),
    ("https://169.254.169.254/latest/meta-data/", "webhook.url.private_ip"),
    ("https://[fd00:ec2::254]/", "webhook.url.private_ip"),
    ("https://100.64.0.1/", "webhook.url.private_ip"),
    ("https://[64:ff9b::7f00:1]/", "webhook.url.private_ip"),
    ("https://localhost./", "webhook.url.invalid"),
    ("https://user@127.0.0.1/", "webhook.url.invalid"),
    ("https://example.com@127.0.0.1/", "webhook.url.invalid"),
    ("https://127.0.0.1#@example.com/", "webhook.url.invalid"),
    ("https://127.0.0.1\\@example.com/", "webhook.url.invalid"),
    ("https://nothing.invalid/", "webhook.url.unresolvable"),
])
def test_urls_that_are_refused_by_default(strict, receiver, url, key):
    state, _, detail = refused(
        strict, "SELECT webhook_create('hook', %s)", url.format(port=receiver.port)
    )
    assert state == "22023" and detail.startswith(key + ": "), detail
    if key != "webhook.url.unresolvable" and "localhost" not in url:
        # What is in the text is refused also where no name is looked up.
        with strict.connection.transaction():
            strict.run("SET LOCAL pg_webhook.require_resolvable = off")
            assert refused_inside(strict, "SELECT webhook_create('hook', %s)", url.format(port=receiver.port)).startswith(key)
    assert receiver.connections == 0
    assert strict.value("SELECT count(*) FROM webhook.webhooks") == 0


def test_metadata_addresses_stay_refused_whatever_is_allowed(own_cluster, make_db):
    server = own_cluster(pg_webhook__allowed_networks="'0.0.0.0/0, ::/0'")
    db = make_db(server)
    for host in ("169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "100.100.100.200"):
        _, _, detail = refused(db, "SELECT webhook_create('hook', %s)", f"http://{host}/")
        assert detail.startswith("webhook.url.private_ip: ")


def test_the_policy_holds_at_every_connect(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    # By name, so that only the resolver can know.
    db.create("hook", receiver.url("/").replace("127.0.0.1", "localhost"), table_name="items", **LATER)
    server.reload(pg_webhook__allowed_networks="'10.0.0.0/8'")
    wait_until(lambda: db.value("SHOW pg_webhook.allowed_networks") == "10.0.0.0/8", "the reload")

    def blocked():
        db.run("INSERT INTO items SELECT coalesce(max(id), 0) + 1 FROM items")
        return db.value("SELECT count(*) FROM webhook.attempts WHERE error_class = 'blocked_address'")

    wait_until(blocked, "an attempt that is refused", interval=0.2)
    connections = receiver.connections
    error = db.value("SELECT error FROM webhook_test('hook')")
    assert error in [f"blocked_address: {ip} is not allowed: loopback" for ip in ("127.0.0.1", "::1")]
    assert receiver.connections == connections


def test_proxies_of_the_environment_are_not_used(make_receiver, make_db):
    from harness import Cluster

    proxy, target = make_receiver(), make_receiver()
    server = Cluster("proxied")
    environment = {
        name: proxy.url() for name in
        ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    }
    try:
        server.start(**environment)
        db = make_db(server)
        db.run("CREATE TABLE items (id int PRIMARY KEY)")
        db.create("hook", target.url("/"), table_name="items")
        db.run("INSERT INTO items VALUES (1)")
        db.wait_for_status(1)
        assert (proxy.connections, target.connections) == (0, 1)
    finally:
        server.destroy()


# --- TLS -------------------------------------------------------------------------------------------


def test_tls_certificates(own_cluster, make_db, make_receiver, tmp_path):
    trusted, unknown = authority("trusted"), authority("unknown")
    server = own_cluster()
    ca_file = server.folder / "ca.pem"
    address = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    own = authority("own", address)
    ca_file.write_bytes(pem(trusted, own))
    ca_file.chmod(0o644)
    server.reload(pg_webhook__ca_file=f"'{ca_file}'", pg_webhook__allow_http="off")
    db = make_db(server)
    wait_until(lambda: db.value("SHOW pg_webhook.ca_file") == str(ca_file), "the reload")
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    old_protocol = server_context(tmp_path, trusted, "old", address)
    old_protocol.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the point of this case
        old_protocol.maximum_version = ssl.TLSVersion.TLSv1_1
    tls_12 = server_context(tmp_path, trusted, "tls12", address)
    tls_12.maximum_version = ssl.TLSVersion.TLSv1_2
    cases = {
        "good": (server_context(tmp_path, trusted, "good", address), None),
        "tls12": (tls_12, None),
        # as `openssl req -x509` makes it; only what the file holds is accepted
        "own-in-file": (context_with(tmp_path, "own", *own), None),
        "own": (context_with(tmp_path, "stranger", *authority("own", address)), "tls"),
        "unknown-authority": (server_context(tmp_path, unknown, "unknown", address), "tls"),
        "expired": (server_context(tmp_path, trusted, "expired", address, -10, -1), "tls"),
        "not-yet-valid": (server_context(tmp_path, trusted, "early", address, 1, 10), "tls"),
        "other-host": (
            server_context(tmp_path, trusted, "other", [x509.DNSName("example.com")]), "tls",
        ),
        "tls11": (old_protocol, "tls"),
    }
    receivers = {name: make_receiver(tls=context) for name, (context, _) in cases.items()}
    plain = make_receiver()
    urls = {name: r.url("/") for name, r in receivers.items()}
    urls["plain-http"] = plain.url("/").replace("http:", "https:")
    for name, url in urls.items():
        db.create(name, url, table_name="items", timeout_seconds=5, **LATER)
    db.run("INSERT INTO items VALUES (1)")
    wait_until(
        lambda: db.value("SELECT count(*) FROM webhook.attempts") == len(urls), "an attempt each", 20
    )
    classes = dict(db.rows(
        "SELECT d.webhook, a.error_class FROM webhook.attempts a JOIN webhook.deliveries d ON d.id = delivery_id"
    ))
    expected = {name: error for name, (_, error) in cases.items()}
    assert classes == {**expected, "plain-http": "tls"}
    received = {name for name, r in receivers.items() if r.got()}
    assert received == {"good", "tls12", "own-in-file"}
    assert plain.got() == []
