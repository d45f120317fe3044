"""Limits that nobody meets in ordinary use: threads of a session, sizes of names and headers, names of webhooks,
and what a request may not be made of. All of it is tried by ordinary roles."""

import contextlib
import json
import pathlib
import threading
import time

import psycopg
import pytest

from harness import wait_until
from harness.memory import private_memory


def refused(connection, statement, *arguments):
    """Run a statement that must fail; return its SQLSTATE."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement, arguments or None)
    return caught.value.diag.sqlstate


@pytest.fixture
def role(db, cluster):
    """Makes roles with a level, a schema and a table `things`; returns a connection for each."""
    made = []

    def role(name, level="member"):
        full = f"{db.name}_{name}"
        db.run(f"CREATE ROLE {full} LOGIN")
        db.run(f"CREATE SCHEMA {full} AUTHORIZATION {full}")
        connection = cluster.connect(db.name, user=full)
        connection.execute("CREATE TABLE things (id int PRIMARY KEY)")
        if level:
            db.run("SELECT webhook_grant(%s, %s)", full, level)
        made.append((full, connection))
        return connection

    yield role
    for full, connection in made:
        connection.close()
        db.run(f"DROP OWNED BY {full} CASCADE; DROP ROLE {full}")


def threads(connection):
    """How many threads the session's process has."""
    [pid] = connection.execute("SELECT pg_backend_pid()").fetchone()
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


# --- threads ----------------------------------------------------------------------------------------


def test_many_calls_leave_one_thread(role, receiver):
    """Each looks a name up, in a session of its own and in the worker's way."""
    member = role("mem")
    url = receiver.url("/").replace("127.0.0.1", "localhost")
    for number in range(100):
        member.execute("SELECT webhook_create(%s, %s)", [f"hook{number}", url])
        member.execute("SELECT webhook_test(%s)", [f"hook{number}"])
        assert threads(member) <= 2, "its own, and one that looks names up"
    assert len(receiver.got()) == 100


def test_calls_that_are_cancelled_leave_a_few_threads(role, receiver):
    """A receiver that never answers, and a session that does not wait for it."""
    member = role("mem")
    receiver.hold()
    member.execute("SELECT webhook_create('hook', %s, timeout_seconds => 600)", [receiver.url("/")])
    member.execute("SET statement_timeout = '20ms'")
    for _ in range(100):
        assert refused(member, "SELECT webhook_test('hook')") in ("57014", "53000")
    member.execute("RESET statement_timeout")
    wait_until(lambda: threads(member) <= 2, lambda: f"{threads(member)} threads")
    receiver.release()
    member.execute("SELECT webhook_test('hook')")


# --- sizes ------------------------------------------------------------------------------------------


CREATE = "SELECT webhook_create('hook', %s, {})"


@pytest.mark.parametrize("arguments, detail", [
    ("signature_header => repeat('x', 20000)", "longer than 200 bytes"),
    ("signature_header => repeat('x', 201)", "longer than 200 bytes"),
    ("headers => jsonb_build_object(repeat('x', 201), '')", "longer than 200 bytes"),
    ("headers => (SELECT jsonb_object_agg('x' || n, '') FROM generate_series(1, 40000) AS n)", "larger than 8192 bytes"),
    ("headers => (SELECT jsonb_object_agg('x' || n, n) FROM generate_series(1, 400000) AS n)", "larger than 8192 bytes"),
    ("headers => jsonb_build_object('X-A', repeat('x', 50000000))", "larger than 8192 bytes"),
    ("headers => '{\"Content-Type\": \"text/plain\"}'", "is reserved"),
    ("headers => '{\"content-encoding\": \"gzip\"}'", "is reserved"),
    ("headers => '{\"Accept-Encoding\": \"gzip\"}'", "is reserved"),
    ("headers => '{\"Content-Length\": \"0\"}'", "is reserved"),
    ("signature_header => 'content-type'", "is reserved"),
    ("signature => 'timestamped', signature_header => 'X-Webhook-Signature'", "another value"),
    ("format => 'fluxbase', signature_header => 'x-webhook-signature'", "another value"),
])
def test_what_a_request_cannot_be_made_of(role, receiver, arguments, detail):
    member = role("mem")
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        member.execute(CREATE.format(arguments), [receiver.url("/")])
    assert detail in caught.value.diag.message_detail


@pytest.mark.parametrize("argument, value", [
    ("description", "repeat('x', 10001)"),
    ("condition", "repeat('x', 1048577)"),
    ("events", "(SELECT array_agg('a.' || n) FROM generate_series(1, 1601) AS n)"),
    ("events", "ARRAY[repeat('x', 10001)]"),
    ("columns", "(SELECT array_agg('a' || n) FROM generate_series(1, 1601) AS n)"),
    ("payload_columns", "(SELECT array_agg('a' || n) FROM generate_series(1, 1601) AS n)"),
    ("emitters", "array_fill(10::regrole, ARRAY[1601])"),
])
def test_arguments_that_are_too_large(role, receiver, argument, value):
    """Others pay for them: each emitted event is compared with all patterns."""
    member = role("mem", "member")
    member.execute("SELECT webhook_create('hook', %s, 'things')", [receiver.url("/")])
    for call in ("webhook_create('other', %s, 'things', {})", "webhook_update('hook', url => %s, {})"):
        assert refused(member, f"SELECT {call.format(f'{argument} => {value}')}", receiver.url("/")) == "22023"
    assert member.execute("SELECT name FROM webhook.webhooks").fetchall() == [("hook",)]


def test_headers_of_a_request_that_are_too_large(role):
    member = role("mem", "member")
    large = "jsonb_build_object('x', repeat('x', 1048577))"
    assert refused(member, f"SELECT webhook_verify('x', {large}, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')") == "22023"


def test_the_same_for_a_webhook_that_is_changed(role, receiver):
    member = role("mem")
    member.execute("SELECT webhook_create('hook', %s, signature => 'sha256')", [receiver.url("/")])
    update = "SELECT webhook_update('hook', {})".format
    member.execute(update("signature_header => 'X-Webhook-Signature'"))
    for arguments in (
        "signature => 'timestamped'", "format => 'fluxbase'", "headers => '{\"Content-Type\": \"a/b\"}'",
        "headers => (SELECT jsonb_object_agg('x' || n, '') FROM generate_series(1, 40000) AS n)",
    ):
        assert refused(member, update(arguments)) == "22023", arguments
    member.execute(update("signature => 'timestamped', signature_header => ''"))
    assert refused(member, update("signature_header => 'x-webhook-signature'")) == "22023"


def test_the_largest_that_is_allowed_arrives(role, receiver):
    member = role("mem")
    headers = {f"x-{n:03}-{'n' * 194}": "v" * 200 for n in range(20)}
    headers["User-Agent"] = "mine/1"
    member.execute(
        "SELECT webhook_create('hook', %s, headers => %s::jsonb, signature => 'sha256', signature_header => repeat('s', 200))",
        [receiver.url("/"), json.dumps(headers)],
    )
    member.execute("SELECT webhook_test('hook')")
    [request] = receiver.wait(1)
    assert {name.lower(): value for name, value in headers.items()}.items() <= request.headers.items()
    assert request.headers["s" * 200].startswith("sha256=")
    assert request.headers["content-type"] == "application/json"


# --- names ------------------------------------------------------------------------------------------


def test_a_name_is_unique_for_its_owner_and_says_nothing_of_others(db, role, receiver):
    ann, bob, root, viewer = role("ann"), role("bob"), role("root", "admin"), role("viewer", "viewer")
    create, url = "SELECT id FROM webhook_create('hook', %s, events => '{a.*}')", receiver.url("/")
    [of_ann] = ann.execute(create, [url]).fetchone()
    assert refused(bob, "SELECT webhook_pause('hook')") == "42704"
    [of_bob] = bob.execute(create, [url]).fetchone()
    assert refused(ann, create, url) == refused(bob, create, url) == "42710"
    for connection, own in ((ann, of_ann), (bob, of_bob)):
        connection.execute("SELECT webhook_pause('hook')")
        assert connection.execute("SELECT id, health FROM webhook.webhooks").fetchall() == [(own, "paused")]
    # Both are an admin's to manage: it says which by uuid.
    with pytest.raises(psycopg.Error) as caught:
        root.execute("SELECT webhook_resume('hook')")
    assert caught.value.diag.sqlstate == "42725" and "uuid" in caught.value.diag.message_hint
    root.execute("SELECT webhook_resume(%s)", [str(of_ann)])
    assert dict(db.rows("SELECT id, health FROM webhook.webhooks")) == {of_ann: "healthy", of_bob: "paused"}
    # Its own goes first, so that no member takes a name from it.
    [of_root] = root.execute(create, [url]).fetchone()
    root.execute("SELECT webhook_pause('hook')")
    assert dict(db.rows("SELECT id, health FROM webhook.webhooks"))[of_root] == "paused"
    root.execute("SELECT webhook_delete('hook')")
    # The name of one that was deleted is free again, and so is that of one that was renamed.
    ann.execute("SELECT webhook_update('hook', name => 'other')")
    ann.execute(create, [url])
    assert refused(ann, "SELECT webhook_update('other', name => 'hook')") == "42710"
    ann.execute("SELECT webhook_update('other', name => 'other', description => 'the same name')")
    root.execute("SELECT webhook_delete(%s)", [str(of_bob)])
    root.execute("SELECT webhook_pause('hook')")
    assert refused(bob, "SELECT webhook_resume('hook')") == "42704"


def test_a_member_of_two_owners(db, role, receiver):
    """Of several that it may manage, none its own, it has to say which."""
    ann, bob, carl = role("ann"), role("bob"), role("carl")
    db.run(f"GRANT {db.name}_ann, {db.name}_bob TO {db.name}_carl")
    ids = [c.execute("SELECT id FROM webhook_create('hook', %s)", [receiver.url("/")]).fetchone()[0] for c in (ann, bob)]
    assert refused(carl, "SELECT webhook_pause('hook')") == "42725"
    carl.execute("SELECT webhook_pause(%s)", [str(ids[0])])
    carl.execute("SELECT webhook_create('hook', %s)", [receiver.url("/")])
    carl.execute("SELECT webhook_delete('hook')")
    assert refused(carl, "SELECT webhook_delete('hook')") == "42725"


def test_the_same_name_at_the_same_time(db, role, receiver, cluster):
    """One of them is it; the others hear that the name is taken, never of an internal error."""
    role("mem")
    states, url = [], receiver.url("/")

    def work(statement):
        with cluster.connect(db.name, user=f"{db.name}_mem") as connection:
            for _ in range(5):
                try:
                    connection.execute(statement, [url])
                    states.append("00000")
                except psycopg.Error as error:
                    states.append(error.diag.sqlstate)

    workers = [threading.Thread(target=work, args=["SELECT webhook_create('hook', %s)"]) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(states) == ["00000"] + ["42710"] * 29
    states.clear()
    with cluster.connect(db.name, user=f"{db.name}_mem", autocommit=False) as first:
        first.execute("SELECT webhook_create('new', %s)", [url])
        worker = threading.Thread(target=work, args=["SELECT webhook_update('hook', name => 'new', url => %s)"])
        worker.start()
        wait_until(lambda: db.value("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"), "the other one")
        first.commit()
        worker.join()
    assert states == ["42710"] * 5


def test_nobody_blocks_a_name(db, role, receiver):
    """No advisory lock that anybody can take, and no webhook of somebody else, is waited for."""
    ann, bob, root = role("ann"), role("bob"), role("root", "admin")
    for number in (db.value("SELECT 'webhook.webhook'::regclass::oid::int"), 0, 1, 2):
        for word in ("hook", "new"):
            ann.execute("SELECT pg_advisory_lock(%s::int, hashtext(%s))", [number, word])
    url = receiver.url("/")
    ann.execute("SELECT webhook_create('hook', %s)", [url])
    for connection in (bob, root):
        connection.execute("SET statement_timeout = '10s'")
        connection.execute("SELECT webhook_create('hook', %s)", [url])
    with ann.transaction():
        ann.execute("SELECT webhook_update('hook', description => 'held')")
        for connection in (bob, root):
            connection.execute("SELECT webhook_update('hook', name => 'new')")


# --- certificates -----------------------------------------------------------------------------------


def test_a_file_of_certificates_that_cannot_be_read(own_cluster, make_db, receiver):
    """Only requests with TLS need it. Where it is, is in the server's log and nowhere else."""
    path = "/nowhere/of/the/administrator/ca.pem"
    server = own_cluster(pg_webhook__ca_file=f"'{path}'")
    db = make_db(server)
    db.run("CREATE ROLE mem LOGIN; SELECT webhook_grant('mem', 'member')")
    told = []
    with server.connect(db.name, user="mem") as member:
        member.add_notice_handler(lambda diagnostic: told.append(str(diagnostic.message_primary)))
        member.execute("SET client_min_messages = debug1")
        member.execute("SELECT webhook_create('hook', %s)", [receiver.url("/")])
        [status] = member.execute("SELECT status_code FROM webhook_test('hook')").fetchone()
        assert status == 200
        member.execute("SELECT webhook_create('tls', %s)", [receiver.url("/").replace("http:", "https:")])
        [error] = member.execute("SELECT error FROM webhook_test('tls')").fetchone()
        assert error.startswith("tls: ")
        assert refused(member, "SHOW pg_webhook.ca_file") == "42501"
        seen = [error, *told, *(row[0] for row in member.execute("SELECT w::text FROM webhook.webhooks AS w"))]
        assert not [text for text in seen if "nowhere" in text]
    assert server.log_lines(path)


# --- signatures -------------------------------------------------------------------------------------


def test_a_recorded_request_without_its_date(role, receiver):
    """The second header of `timestamped` is no signature of its own, and the receiver can say what it expects."""
    member = role("mem")
    secret = "a secret of plain words"
    member.execute(
        "SELECT webhook_create('hook', %s, format => 'fluxbase', secret => %s)", [receiver.url("/"), secret]
    )
    member.execute("SELECT webhook_test('hook')")
    [request] = receiver.wait(1)
    body, headers = request.body.decode(), dict(request.headers)

    def verified(headers, **named):
        more = "".join(f", {name} => %s" for name in named)
        statement = f"SELECT webhook_verify(%s, %s::jsonb, %s{more})"
        return member.execute(statement, [body, json.dumps(headers), secret, *named.values()]).fetchone()[0]

    assert verified(headers) and verified(headers, signature="timestamped")
    stripped = {name: value for name, value in headers.items() if name != "x-fluxbase-signature"}
    bare = headers["x-webhook-signature"]
    for forged in (
        stripped, {**stripped, "x-fluxbase-signature": bare}, {**headers, "x-fluxbase-signature": ""},
        {**headers, "x-fluxbase-signature": f"t={int(time.time())},v1={bare}"},
    ):
        assert not verified(forged)
        assert not verified(forged, tolerance="1 hour")
    for name, value in (("x-truss-signature", bare), ("x-webhook-signature", f"sha256={bare}")):
        assert not verified({**stripped, name: value}, signature="timestamped")
    for scheme in ("standard", "sha256", "hex", "none"):
        assert not verified(headers, signature=scheme)
    assert refused(member, "SELECT webhook_verify('', '{}'::jsonb, '', signature => 'md5')") == "22023"


# --- memory -----------------------------------------------------------------------------------------


def test_a_session_forgets_triggers_and_knows_them_again(role, receiver):
    """It writes to more than it remembers, twice."""
    member = role("mem")
    hooks, parts = 65, 64
    member.execute("CREATE TABLE parted (id int) PARTITION BY LIST (id)")
    for number in range(parts):
        member.execute(f"CREATE TABLE part{number} PARTITION OF parted FOR VALUES IN ({number})")
    for number in range(hooks):
        member.execute("SELECT webhook_create(%s, %s, 'parted', events => '{INSERT}')", [f"hook{number}", receiver.url("/")])
        member.execute("SELECT webhook_pause(%s)", [f"hook{number}"])
    for _ in range(2):
        member.execute("INSERT INTO parted SELECT n FROM generate_series(0, %s) AS n", [parts - 1])
    counts = member.execute("SELECT count(*), min(n), max(n) FROM (SELECT count(*) AS n FROM webhook.deliveries GROUP BY webhook) AS d")
    assert counts.fetchone() == (hooks, 2 * parts, 2 * parts)


@pytest.mark.alone
def test_what_the_backlog_cannot_take_is_kept_up_to_a_limit(own_cluster, make_db, receiver):
    """Then no more of the log is read. Nothing of it is lost."""
    db = make_db(own_cluster()).hand_over()
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.create("other", receiver.url("/other"))
    db.run("SELECT webhook_pause('hook')")

    sent = 0

    def arrives():
        """What is new, although much of the log waits to be read."""
        nonlocal sent
        sent += 1
        db.run("SELECT webhook_invoke('other', i) FROM (SELECT 1 AS id) AS i")
        with contextlib.suppress(AssertionError):
            receiver.wait(sent, "/other", timeout=3)
        return len(receiver.got("/other")) == sent

    with db.cluster.connect(db.name, autocommit=False) as vacuum:
        vacuum.execute("LOCK TABLE webhook.pending IN SHARE MODE")
        db.run("INSERT INTO items SELECT generate_series(1, 50000)")
        assert arrives()
        db.run("INSERT INTO items SELECT generate_series(50001, 110000)")
        # In the end the log is not read any more.
        wait_until(lambda: not (arrives() or arrives() or arrives()), "the worker to have its fill", interval=0.1)
    receiver.wait(sent, "/other")
    db.wait_for_status(110000, "pending")


def test_outcomes_that_cannot_be_written_are_kept_up_to_a_limit(own_cluster, make_db, receiver):
    """Those without an attempt, too: of a transform that fails each time, with much to say about it."""
    db = make_db(own_cluster()).hand_over()
    db.run("CREATE TABLE items (id int)")
    db.run("CREATE FUNCTION fails(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS"
           " $$ BEGIN RAISE '%', repeat(md5(payload::text), 60); END $$")
    db.create("hook", receiver.url("/"), table_name="items", transform="fails(jsonb)")
    before = private_memory(db.worker())
    with db.cluster.connect(db.name, autocommit=False) as vacuum:
        vacuum.execute("LOCK TABLE webhook.pending IN SHARE MODE")
        db.run("INSERT INTO items SELECT generate_series(1, 40000)")
        wait_until(lambda: db.cluster.log_lines("webhook.pending is locked by"), "the worker to find it")
        time.sleep(2)
        assert private_memory(db.worker()) < before + 20
    wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending") == 40000, "all to be written", interval=0.2)
    assert db.statuses() == {"dead": 40000}


# --- arming -----------------------------------------------------------------------------------------


def test_execute_alone_arms_nothing(db, role):
    """As with levels: GRANT ... ON ALL FUNCTIONS makes nobody an admin."""
    member, nobody, root = role("mem"), role("nobody", None), role("root", "admin")
    db.run(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {db.name}_mem, {db.name}_nobody")
    for connection in (member, nobody):
        assert refused(connection, "SELECT webhook_arm()") == "42501"
    assert root.execute("SELECT webhook_arm()").fetchone() == (False,)


# --- addresses --------------------------------------------------------------------------------------


def test_what_hands_out_credentials_stays_refused(own_cluster, make_db):
    server = own_cluster(pg_webhook__allowed_networks="'fd00::/8, 100.64.0.0/10, 169.254.0.0/16, 168.63.129.16'")
    db = make_db(server)
    db.run("CREATE ROLE mem LOGIN; SELECT webhook_grant('mem', 'member')")
    with server.connect(db.name, user="mem") as member:
        for host in (
            "[fd00:ec2::23]", "[fd00:ec2::254]", "[fd00:ec2:ffff::1]", "169.254.170.2", "169.254.170.23",
            "168.63.129.16", "100.100.100.200", "[fd20:ce::254]",
        ):
            with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
                member.execute("SELECT webhook_create('hook', %s)", [f"http://{host}/"])
            assert caught.value.diag.message_detail.startswith("webhook.url.private_ip: "), host
        member.execute("SELECT webhook_create('hook', 'http://[fd00:1::1]/')")
