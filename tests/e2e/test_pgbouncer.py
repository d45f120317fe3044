"""Behind a pool that gives each transaction another session."""

import subprocess

import psycopg
import pytest

from harness import wait_until

PORT = 6432

CONFIGURATION = """
[databases]
* = host={folder} port={port} pool_size=1
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = {own}
pool_mode = transaction
auth_type = trust
auth_file = {folder}/users
logfile = {folder}/pgbouncer.log
pidfile =
"""


@pytest.fixture
def pooled(own_cluster, make_db, receiver):
    """A database of an ordinary role behind pgbouncer with one session, and what makes clients."""
    server = own_cluster()
    db = make_db(server).hand_over()
    db.run("CREATE TABLE items (id int)")
    configuration = CONFIGURATION.format(folder=server.folder, port=server.port, own=PORT)
    (server.folder / "pgbouncer.ini").write_text(configuration)
    (server.folder / "users").write_text(f'"{db.owner}" ""\n')
    process = subprocess.Popen([*server._as_user, "/usr/sbin/pgbouncer", str(server.folder / "pgbouncer.ini")], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    clients = []

    def client():
        # Prepared statements would be those of the one session.
        clients.append(psycopg.connect(host=str(server.folder), port=PORT, dbname=db.name, user=db.owner, autocommit=True, prepare_threshold=None))
        return clients[-1]

    def listens():
        try:
            return client()
        except psycopg.OperationalError:
            return None

    try:
        wait_until(listens, "pgbouncer")
        yield db, client
    finally:
        for connection in clients:
            connection.close()
        process.terminate()
        process.wait(10)


def events(db):
    return db.value("SELECT count(*) FROM webhook.deliveries")


def test_all_that_is_one_transaction_works(pooled, receiver):
    db, client = pooled
    first, second = client(), client()
    first.execute("SELECT webhook_create('hook', %s, 'items', '{INSERT,order.*}')", [receiver.url("/")])
    second.execute("INSERT INTO items VALUES (1)")
    receiver.wait(1)
    first.execute("SELECT webhook_emit('order.shipped', '{}')")
    second.execute("SELECT webhook_update('hook', description => 'pooled')")
    assert second.execute("SELECT status_code FROM webhook_test('hook')").fetchone() == (200,)
    delivery = first.execute("SELECT min(id) FROM webhook.deliveries").fetchone()[0]
    second.execute("SELECT webhook_replay(%s)", [delivery])
    receiver.wait(4)
    with first.transaction():
        first.execute("SELECT webhook_pause('hook')")
        first.execute("INSERT INTO items VALUES (2)")
    db.wait_for_status(1, "pending")
    second.execute("SELECT webhook_delete('hook')")


def test_what_is_set_for_the_transaction_is_nobody_elses(pooled, receiver):
    db, client = pooled
    first, second = client(), client()
    first.execute("SELECT webhook_create('hook', %s, 'items')", [receiver.url("/")])
    with first.transaction():
        first.execute("SET LOCAL pg_webhook.capture = off")
        first.execute("INSERT INTO items VALUES (1)")
    assert events(db) == 0
    second.execute("INSERT INTO items VALUES (2)")
    assert events(db) == 1
    # Unlike what is set for a session.
    first.execute("SET pg_webhook.capture = off")
    second.execute("INSERT INTO items VALUES (3)")
    assert events(db) == 1
