"""A major upgrade by logical replication, as docs/moving.md says."""

import json
import time

import pytest

from harness import Cluster, wait_until
from harness.cluster import Database
from harness.dumps import feed, run
from harness.major import MAJOR
from harness.older import FIRST, is_there, server_of
from harness.places import BIN
from harness.receiver import reply
from harness.session import Session

SECRET = "a secret of the receiver's"
EXPORT = "SELECT * FROM webhook_backlog_export()"
HEADERS = '{"Authorization": "Bearer token"}'


@pytest.fixture(params=[FIRST if is_there(FIRST) else MAJOR])
def servers(request):
    """A server of the first major, where the extension has been built for that, and a new one, on which nothing is sent until
    it is reloaded."""
    made = [
        Cluster("old", bin=BIN if request.param == MAJOR else server_of(request.param), wal_level="logical").start(),
        Cluster("new", wal_level="logical", wal_retrieve_retry_interval="'100ms'", pg_webhook__enabled="off").start(),
    ]
    yield made
    for server in made:
        server.destroy()


def psql(server, command):
    """As an admin of webhooks."""
    return run(server, "psql", "-XqAt", "-d", "shop", "-c", command, user="shop_admin").stdout


def is_quiet(judge):
    """Nothing is under way, and nothing was a second ago."""
    for look in range(11):
        time.sleep(0.1 if look else 0)
        if judge.value("SELECT in_flight FROM webhook.worker") != 0:
            return False
    return True


def test_an_upgrade_by_logical_replication(servers, receiver):
    """As docs/moving.md says, with an endpoint that is down meanwhile."""
    old, new = servers
    waiting = new.folder / "waiting"
    origin = Database(old, "shop").hand_over()
    judge = origin.judge
    judge.run("CREATE ROLE shop_admin LOGIN; SELECT webhook_grant('shop_admin', 'admin'); GRANT CREATE ON SCHEMA public TO shop_admin")
    origin.run("CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE bills (id bigserial PRIMARY KEY, note text)")
    receiver.default(reply(503))
    origin.create("orders", receiver.url("/"), table_name="orders", secret=SECRET, signature="sha256")
    origin.create("dead", receiver.url("/dead"), table_name="orders", max_retries=0, secret=SECRET, signature="sha256")
    origin.create("bills", receiver.url("/bills"), table_name="bills", secret=SECRET, signature="sha256", headers=HEADERS)
    origin.run("INSERT INTO orders VALUES (1)")
    origin.wait_for_status(1, "dead")
    origin.run("INSERT INTO orders SELECT generate_series(2, 50); INSERT INTO bills (note) VALUES ('a'), ('b')")

    # The definitions, and the rows by replication.
    upgraded = Database(new, "shop", extension=False)
    upgraded.run(f"CREATE ROLE {origin.owner} LOGIN; CREATE ROLE shop_admin LOGIN")
    definitions = new.folder / "definitions"
    run(new, "pg_dump", "-d", old.dsn("shop"), "--exclude-table-data=public.*", "-f", definitions)
    feed(upgraded, definitions)
    application, admin = (Session(new.connect("shop", user=role)) for role in (origin.owner, "shop_admin"))
    admin.run("SELECT webhook_arm()")
    for name in ("orders", "dead"):
        admin.run("SELECT webhook_update(%s, secret => %s)", name, SECRET)
    admin.run("SELECT webhook_update('bills', secret => %s, headers => %s)", SECRET, HEADERS)
    # The switch is for later.
    off = "pg_webhook.enabled is off: nothing is sent from any database of the server"
    assert admin.rows("SELECT problem FROM webhook_check()") == [(off,)]
    judge.run("CREATE PUBLICATION upgrade FOR ALL TABLES")
    upgraded.run(f"CREATE SUBSCRIPTION upgrade CONNECTION '{old.dsn('shop')}' PUBLICATION upgrade")
    origin.run("INSERT INTO orders SELECT generate_series(51, 70); INSERT INTO bills (note) VALUES ('c')")
    states = "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"
    wait_until(lambda: upgraded.value(states), lambda: new.log_text()[-3000:])

    # The old one stops sending; what is written until the applications stop is in the ring.
    old.reload(pg_webhook__enabled="off")
    wait_until(lambda: judge.value("SELECT NOT current_setting('pg_webhook.enabled')::bool"), "the setting")
    wait_until(lambda: is_quiet(judge), "what is under way")
    origin.run("INSERT INTO orders SELECT generate_series(71, 80); INSERT INTO bills (note) VALUES ('d')")
    now = judge.value("SELECT pg_current_wal_insert_lsn()")
    taken = "SELECT confirmed_flush_lsn >= %s FROM pg_replication_slots WHERE slot_name = 'upgrade'"
    wait_until(lambda: judge.value(taken, now), "the new one to have all")
    assert upgraded.rows("SELECT (SELECT count(*) FROM orders), (SELECT max(id) FROM bills)") == [(80, 4)]
    assert upgraded.statuses() == {}, "what is replicated makes no events"
    upgraded.run("DROP SUBSCRIPTION upgrade")
    application.run("SELECT setval('bills_id_seq', %s)", origin.value("SELECT last_value FROM bills_id_seq"))

    wait_until(lambda: is_quiet(judge), "what is under way")
    psql(old, f"\\copy ({EXPORT}) TO '{waiting}'")
    psql(new, f"CREATE TABLE moving AS {EXPORT} WITH NO DATA")
    psql(new, f"\\copy moving FROM '{waiting}'")
    assert psql(new, "SELECT webhook_backlog_import(m), count(*) FROM moving AS m GROUP BY 1") == "t|164\n"
    old.stop()
    sent = len(receiver.got())
    receiver.default(reply(200))
    application.run("INSERT INTO orders VALUES (81); INSERT INTO bills (note) VALUES ('e')")
    new.reload(pg_webhook__enabled="on")
    expected = {f"{kind} {number}" for kind in ("/", "/dead") for number in range(1, 82)}
    expected |= {f"/bills {number}" for number in range(1, 6)}

    def arrived():
        requests = [r for r in receiver.got()[sent:] if r.answered == 200]
        return {f"{r.path} {json.loads(r.body)['record']['id']}" for r in requests}

    # Those that wait for a retry are due in seconds.
    application.run("SELECT webhook_replay_all('dead')")
    wait_until(lambda: arrived() == expected, lambda: f"missing: {sorted(expected - arrived())[:5]}")
    assert len(receiver.got()) - sent == len(expected), "each once"
    first = {(r.path, json.loads(r.body)["record"]["id"]): (r.id, r.body) for r in receiver.got()[:sent]}
    for request in receiver.got()[sent:]:
        key = (request.path, json.loads(request.body)["record"]["id"])
        assert first.get(key, (request.id, request.body)) == (request.id, request.body)
    assert {r.headers.get("authorization") for r in receiver.got("/bills")} == {"Bearer token"}
    for session in (upgraded, application, admin):
        session.connection.close()
