"""A major upgrade by logical replication, as docs/moving.md says."""

import json

import pytest

from harness import Cluster, wait_until
from harness.cluster import Database
from harness.moving import carry, dump_into
from harness.older import FIRST, is_there, server_of
from harness.places import BIN
from harness.receiver import reply

SECRET = "a secret of the receiver's"


@pytest.fixture
def servers():
    """A server of the first major, where the extension has been built for that, and a new one, on which nothing is sent until
    it is reloaded."""
    made = [
        Cluster("old", bin=server_of(FIRST) if is_there(FIRST) else BIN, wal_level="logical").start(),
        Cluster("new", wal_level="logical", wal_retrieve_retry_interval="'100ms'", pg_webhook__enabled="off").start(),
    ]
    yield made
    for server in made:
        server.destroy()


def test_an_upgrade_by_logical_replication(servers, receiver):
    """As docs/moving.md says, with an endpoint that is down meanwhile."""
    old, new = servers
    origin = Database(old, "shop").hand_over()
    judge = origin.judge
    origin.run("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    receiver.default(reply(503))
    origin.create("orders", receiver.url("/"), table_name="orders", secret=SECRET, signature="sha256")
    origin.create("dead", receiver.url("/dead"), table_name="orders", max_retries=0, secret=SECRET, signature="sha256")
    origin.run("INSERT INTO orders VALUES (1)")
    origin.wait_for_status(1, "dead")
    origin.run("INSERT INTO orders SELECT generate_series(2, 50)")

    # The definitions, and the rows by replication.
    upgraded = Database(new, "shop", extension=False)
    upgraded.run(f"CREATE ROLE {origin.owner} LOGIN")
    dump_into(origin, upgraded, "--exclude-table-data=public.*")
    upgraded.run("SELECT webhook_arm()")
    for name in ("orders", "dead"):
        upgraded.run("SELECT webhook_update(%s, secret => %s)", name, SECRET)
    judge.run("CREATE PUBLICATION upgrade FOR ALL TABLES")
    upgraded.run(f"CREATE SUBSCRIPTION upgrade CONNECTION '{old.dsn('shop')}' PUBLICATION upgrade")
    origin.run("INSERT INTO orders SELECT generate_series(51, 70)")
    states = "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"
    wait_until(lambda: upgraded.value(states), lambda: new.log_text()[-3000:])

    # The old one stops sending; what is written until the applications stop is in the ring.
    old.reload(pg_webhook__enabled="off")
    wait_until(lambda: judge.value("SELECT NOT current_setting('pg_webhook.enabled')::bool"), "the setting")
    wait_until(lambda: judge.value("SELECT in_flight = 0 FROM webhook.worker"), "what is under way")
    origin.run("INSERT INTO orders SELECT generate_series(71, 80)")
    now = judge.value("SELECT pg_current_wal_insert_lsn()")
    taken = "SELECT confirmed_flush_lsn >= %s FROM pg_replication_slots WHERE slot_name = 'upgrade'"
    wait_until(lambda: judge.value(taken, now), "the new one to have all")
    assert upgraded.value("SELECT count(*) FROM orders") == 80
    assert upgraded.statuses() == {}, "what is replicated makes no events"
    upgraded.run("DROP SUBSCRIPTION upgrade")

    wait_until(lambda: judge.value("SELECT in_flight = 0 FROM webhook.worker"), "what is under way")
    assert carry(judge, upgraded) == [(True, 160)]
    old.stop()
    sent = len(receiver.got())
    receiver.default(reply(200))
    upgraded.run("INSERT INTO orders VALUES (81)")
    new.reload(pg_webhook__enabled="on")
    expected = {f"{kind} {number}" for kind in ("/", "/dead") for number in range(1, 82)}

    def arrived():
        requests = [r for r in receiver.got()[sent:] if r.answered == 200]
        return {f"{r.path} {json.loads(r.body)['record']['id']}" for r in requests}

    # Those that wait for a retry are due in seconds.
    upgraded.run("SELECT webhook_replay_all('dead')")
    wait_until(lambda: arrived() == expected, lambda: f"missing: {sorted(expected - arrived())[:5]}")
    assert len(receiver.got()) - sent == len(expected), "each once"
    first = {(r.path, json.loads(r.body)["record"]["id"]): (r.id, r.body) for r in receiver.got()[:sent]}
    for request in receiver.got()[sent:]:
        key = (request.path, json.loads(request.body)["record"]["id"])
        assert first.get(key, (request.id, request.body)) == (request.id, request.body)
    upgraded.connection.close()
