"""Endpoints that are named: names that move, that nobody knows for a while, and hosts that do not answer."""

import threading
import time

import psycopg
import pytest

from harness import Receiver, wait_until
from harness.clock import Clock
from harness.cluster import Cluster, Database
from harness.copies import records
from harness.names import Names
from harness.port import mute_listener
from harness.preload import environment

NAME = "hooks.example.com"


class Site:
    """A database of an ordinary role, in a server that goes by names and a clock of its own."""

    def __init__(self, server):
        self.names, self.clock = Names(server), Clock(server)
        server.start(**environment(self.names, self.clock))
        self.db = Database(server, "site").hand_over()
        self.db.run("CREATE TABLE items (id int PRIMARY KEY)")

    def url(self, receiver, path="/"):
        return f"http://{NAME}:{receiver.port}{path}"


@pytest.fixture
def site():
    server = Cluster("names")
    try:
        yield Site(server)
    finally:
        server.destroy()


def test_a_name_that_moves_is_followed(site, receiver):
    """Within five minutes, also by connections that are used all the time: they end."""
    site.names.set(NAME, receiver.host)
    elsewhere = Receiver(host="127.0.0.2", port=receiver.port)
    try:
        site.db.create("hook", site.url(receiver), table_name="items", max_concurrency=1)
        site.db.run("INSERT INTO items VALUES (0)")
        receiver.wait(1)
        site.names.set(NAME, elsewhere.host)
        for item, seconds in enumerate(range(10, 330, 10), 1):
            site.clock.passes(seconds)
            site.db.run("INSERT INTO items VALUES (%s)", item)
            wait_until(lambda: len(receiver.got()) + len(elsewhere.got()) == item + 1, "the event")
        assert receiver.connections == elsewhere.connections == 1
        # One is kept for so long, less what the machine takes, and no longer.
        assert 25 <= len(receiver.got()) <= 30
        assert records(receiver) + records(elsewhere) == list(range(33))
    finally:
        elsewhere.close()


def test_a_time_limit_says_what_it_has_ended(site, receiver):
    site.names.set(NAME, receiver.host)
    settings = {"table_name": "items", "timeout_seconds": 1, "max_retries": 0}
    last = "SELECT error FROM webhook.dead_letters ORDER BY id DESC LIMIT 1"
    site.db.create("named", site.url(receiver), **settings)
    site.names.set(NAME, receiver.host, seconds=3)
    site.db.run("INSERT INTO items VALUES (1)")
    site.db.wait_for_status(1, "dead")
    assert site.db.value(last) == "no answer within 1 s: looking up the name"
    with mute_listener(0) as port:
        site.db.run("SELECT webhook_update('named', url => %s)", f"http://127.0.0.1:{port}/")
        site.db.run("INSERT INTO items VALUES (2)")
        site.db.wait_for_status(2, "dead")
        assert site.db.value(last) == "no answer within 1 s: connecting"


def test_a_slow_name_holds_no_lock(site, receiver):
    """Whoever gives a webhook another URL waits for its name where it has to resolve, and nobody waits for that."""
    db = site.db
    db.judge.run(f"ALTER DATABASE {db.name} SET pg_webhook.require_resolvable = on")
    db.create("hook", receiver.url("/"), table_name="items")
    site.names.set(NAME, receiver.host, seconds=3)
    with db.connect() as changing, db.connect() as other:
        change = threading.Thread(target=changing.execute, args=("SELECT webhook_update('hook', url => %s)", [site.url(receiver)]))
        change.start()
        waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
        pid = changing.info.backend_pid
        wait_until(lambda: other.execute(waits, [pid]).fetchone()[0] not in ("ClientRead", None), "the lookup")
        began = time.monotonic()
        other.execute("SET lock_timeout = '1s'; SELECT webhook_pause('hook'); SELECT webhook_resume('hook')")
        assert change.is_alive() and time.monotonic() - began < 2
        change.join()
    assert db.value("SELECT url FROM webhook.webhooks") == site.url(receiver)


def test_a_webhook_of_others_looks_nothing_up(site, receiver):
    """The name is not even asked for."""
    db = site.db
    db.judge.run(f"ALTER DATABASE {db.name} SET pg_webhook.require_resolvable = on")
    db.create("hook", receiver.url("/"), table_name="items")
    db.judge.run("CREATE ROLE stranger LOGIN; SELECT webhook_grant('stranger', 'member')")
    site.names.set(NAME, receiver.host, seconds=3)
    with db.cluster.connect(db.name, user="stranger") as stranger:
        began = time.monotonic()
        with pytest.raises(psycopg.errors.UndefinedObject):
            stranger.execute("SELECT webhook_update('hook', url => %s)", [site.url(receiver)])
        assert time.monotonic() - began < 2
