"""A session that gets no more memory has an error in its statement. The process goes on, and the server."""

import resource
import subprocess

import psycopg
import pytest

from harness import Cluster
from harness.cluster import Database

MIB = 1024 * 1024
BODY = 6 * MIB
#: Characters of an error, which are in its message and in its detail.
ERROR = 2 * MIB
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

LONG = f"repeat('x', {BODY})"
LONG_JSON = f"to_jsonb({LONG})"
#: As many bytes of headers as are looked at, each of them of few.
HEADERS = "(SELECT jsonb_object_agg(format('%s', n), '') FROM generate_series(1, 80000) n)"

STATEMENTS = {
    "insert": f"INSERT INTO things VALUES (1, {LONG})",
    "insert, transform": f"INSERT INTO shaped VALUES (1, {LONG})",
    "insert, transform's error": f"INSERT INTO failing VALUES ({ERROR})",
    "insert, transform's error that is the statement's": f"INSERT INTO strict VALUES ({ERROR})",
    "invoke": f"SELECT webhook_invoke('things', ROW(1, {LONG}))",
    "invoke, many types": f"SELECT webhook_invoke('things', ROW(array_agg(ROW(n, n::text)))) FROM generate_series(1, 100000) n",
    "emit": f"SELECT webhook_emit('a.b', {LONG_JSON})",
    "emit, type": f"SELECT webhook_emit({LONG}, '1')",
    "preview": f"SELECT body FROM webhook_preview('things', 'INSERT', jsonb_build_object('note', {LONG}))",
    "preview, error": f"SELECT reason FROM webhook_preview('things', 'INSERT', jsonb_build_object('id', {LONG}))",
    "preview, event": f"SELECT reason FROM webhook_preview('things', {LONG})",
    "preview, transform's error": f"SELECT reason FROM webhook_preview('failing', 'INSERT', '{{\"id\": {ERROR}}}')",
    "test": f"SELECT error FROM webhook_test('things', {LONG_JSON})",
    "replay": "SELECT webhook_replay({dead})",
    "replay, transform": "SELECT webhook_replay({dead_shaped})",
    "sign": f"SELECT webhook_sign({LONG}, '{SECRET}', id => {LONG})",
    "verify": f"SELECT webhook_verify({LONG}, jsonb_build_object('x-truss-signature', repeat('a', 1000000)), '{SECRET}')",
    "verify, many headers": f"SELECT webhook_verify('{{}}', {HEADERS}, '{SECRET}')",
    "verify, headers": f"SELECT webhook_verify('{{}}', jsonb_build_object('a', {LONG}), '{SECRET}')",
    "verify, signature": f"SELECT webhook_verify({LONG}, {LONG}, '{SECRET}')",
    "create, headers": f"SELECT webhook_create('new', 'http://127.0.0.1:9/', headers => {HEADERS})",
    "create, condition": "SELECT webhook_create('new', 'http://127.0.0.1:9/', 'things',"
                         " condition => 'NEW.note <> ''' || repeat('x', 1000000) || '''')",
    "create, events": "SELECT webhook_create('new', 'http://127.0.0.1:9/',"
                      " events => (SELECT array_agg(n || repeat('x', 9000)) FROM generate_series(1, 1600) n))",
    "update, headers": f"SELECT webhook_update('things', headers => jsonb_build_object({LONG}, {LONG}))",
}

#: What they end with where there is memory, if that is an error: something is longer or other than it may be.
EXPECTED = {
    "insert, transform's error that is the statement's": "P0001",
    "emit, type": "22023",
    "preview, event": "22023",
    "verify, headers": "22023",
    "create, headers": "22023",
    "create, condition": "42P17",
    "create, events": "22023",
    "update, headers": "22023",
}


@pytest.fixture(scope="module")
def database():
    """Of an ordinary role, with webhooks that may have large bodies."""
    # The compiler ends its session where there is no memory.
    server = Cluster("little", jit="off", pg_webhook__max_payload_bytes="8MB").start()
    db = Database(server, "little").hand_over()
    db.run("CREATE TABLE things (id int, note text); CREATE TABLE shaped (id int, note text)")
    db.run("CREATE TABLE failing (id int); CREATE TABLE strict (id int)")
    # It fails where it is told so, or says as much as the number of the row.
    db.run("""
        CREATE FUNCTION shape(body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
        BEGIN
            IF coalesce(current_setting('shape.fails', true), '') <> '' THEN
                RAISE EXCEPTION 'told so';
            END IF;
            RETURN body;
        END $$;
        CREATE FUNCTION complain(body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '%', repeat('x', (body #>> '{record,id}')::int) USING DETAIL = repeat('y', (body #>> '{record,id}')::int);
        END $$""")
    hear = {"url": "http://127.0.0.1:9/", "max_retries": 0}
    db.create("things", table_name="things", events=["INSERT", "a.b"], **hear)
    db.create("shaped", table_name="shaped", events=["INSERT"], transform="shape(jsonb)", **hear)
    db.create("failing", table_name="failing", events=["INSERT"], transform="complain(jsonb)", **hear)
    db.create("strict", table_name="strict", events=["INSERT"], transform="complain(jsonb)", on_transform_error="fail", **hear)
    # What can be replayed.
    db.run(f"SET shape.fails = on; INSERT INTO shaped VALUES (1, {LONG}); RESET shape.fails")
    db.run(f"INSERT INTO things VALUES (1, {LONG}); INSERT INTO failing VALUES ({ERROR})")
    db.wait_for_status(3, "dead")
    found = dict(db.rows("SELECT webhook, id FROM webhook.deliveries"))
    db.dead = {"dead": found["things"], "dead_shaped": found["shaped"]}
    yield db
    db.drop()
    server.destroy()


def attempt(db, statement, small=False):
    """The SQLSTATE of its error, if it has one. Nothing is left of it, so that the worker has nothing to do."""
    text = STATEMENTS[statement]
    for name, value in db.dead.items():
        text = text.replace(f"{{{name}}}", str(value))
    if small:
        text = text.replace(str(BODY), "1").replace(str(ERROR), "1")
    try:
        with db.connection.transaction(force_rollback=True):
            db.connection.execute(text)
    except psycopg.Error as error:
        return "the connection is gone" if db.connection.closed else error.sqlstate
    return None


def limit(cluster, pid, size):
    """What the server's user may do to a process of its own."""
    subprocess.check_call([*cluster._as_user, "prlimit", "--pid", str(pid), f"--as={size}:"])


def test_what_there_is_no_memory_for_is_an_error(database):
    """Wherever it is that memory ends: the limit goes up until there is enough. One test, because it is one server."""
    ends = {}
    for statement in STATEMENTS:
        # A session that keeps nothing of memory that it has had, but has the library and the webhooks.
        with database.connect() as database.connection:
            attempt(database, statement, small=True)
            outcomes = [*outcomes_until_enough(database, statement)]
        ends[statement] = outcomes[-1]
        # An error of a transform is the event's, that there is no memory as well; the last is short.
        assert len(outcomes) > 1 or statement.endswith("error") or statement == "create, condition", statement
    assert ends == {statement: EXPECTED.get(statement) for statement in STATEMENTS}


def outcomes_until_enough(db, statement):
    pid = db.connection.info.backend_pid
    for more in range(2, 500, 24):
        with open(f"/proc/{pid}/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        limit(db.cluster, pid, size + more * MIB)
        outcome = attempt(db, statement)
        assert not db.connection.closed, f"{statement}: {db.cluster.log_lines('PANIC|FATAL|terminated|allocation|panicked')}"
        limit(db.cluster, pid, "unlimited")
        yield outcome
        if outcome != "53200":
            break
