"""A session that gets no more memory has an error in its statement. The process goes on, and the server."""

import resource
import subprocess

import psycopg
import pytest

MIB = 1024 * 1024
#: More than what a session keeps of memory that it has had.
BODY = 30 * MIB

STATEMENTS = {
    "insert": f"INSERT INTO things VALUES (1, repeat('x', {BODY}))",
    "transform": f"INSERT INTO shaped VALUES (1, repeat('x', {BODY}))",
    "invoke": f"SELECT webhook_invoke('things', ROW(1, repeat('x', {BODY})))",
    "emit": f"SELECT webhook_emit('a.b', to_jsonb(repeat('x', {BODY})))",
    "preview": f"SELECT body FROM webhook_preview('things', 'INSERT', jsonb_build_object('note', repeat('x', {BODY})))",
}


@pytest.fixture
def session(own_cluster, make_db):
    """One of an ordinary role, with webhooks that hear it and may have large bodies."""
    db = make_db(own_cluster(pg_webhook__max_payload_bytes="32MB")).hand_over()
    db.run("CREATE TABLE things (id int, note text); CREATE TABLE shaped (id int, note text)")
    db.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    for table in ("things", "shaped"):
        more = {"transform": "shape(jsonb)", "events": ["INSERT"]} if table == "shaped" else {"events": ["INSERT", "a.b"]}
        db.create(table, "http://127.0.0.1:9/", table_name=table, **more)
    # The library, and what the session keeps of the webhooks.
    for statement in STATEMENTS.values():
        attempt(db.connection, statement.replace(str(BODY), "1"))
    yield db
    db.drop()


def attempt(connection, statement):
    """The SQLSTATE of its error, if it has one. Nothing is left of it, so that the worker has nothing to do."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def limit(cluster, pid, size):
    """What the server's user may do to a process of its own."""
    subprocess.check_call([*cluster._as_user, "prlimit", "--pid", str(pid), f"--as={size}:"])


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_body_that_there_is_no_memory_for_is_an_error(session, statement):
    """Wherever it is that memory ends: the limit goes up until there is enough."""
    pid = session.connection.info.backend_pid
    outcomes = []
    for more in range(4, 800, 32):
        with open(f"/proc/{pid}/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        limit(session.cluster, pid, size + more * MIB)
        outcomes.append(attempt(session.connection, STATEMENTS[statement]))
        limit(session.cluster, pid, "unlimited")
        if outcomes[-3:] == [None] * 3:
            break
    assert set(outcomes) == {"53200", None}, outcomes
    assert session.connection.info.backend_pid == pid
    assert session.cluster.log_lines("terminated by signal") == []
