"""Hundreds of databases."""

import json
import time

import pytest

from harness import wait_until
from harness.cluster import Database
from harness.databases import furnish, insert, server_with
from harness.receiver import reply

# Seconds before a second attempt.
BACKOFF = 4


@pytest.mark.alone
def test_one_of_three_hundred_databases_is_found(receiver):
    with server_with(slots=6, fsync="off") as server:
        with server.connect() as admin:
            for number in range(299):
                admin.execute(f"CREATE DATABASE plain{number} TEMPLATE template0 STRATEGY file_copy")
        db = furnish(Database(server, "late"), receiver, retry_backoff_seconds=BACKOFF)
        hint = server.data / "pg_stat" / "pg_webhook.databases"
        oid = db.value("SELECT oid FROM pg_database WHERE datname = 'late'")
        wait_until(lambda: hint.exists() and str(oid) in hint.read_text().split(), "the hint")
        # In the order of their numbers it is the last one.
        began = time.monotonic()
        for number in range(299):
            server.connect(f"plain{number}").close()
        # What a machine that has other things to do takes longer for a connection it takes longer for a visit.
        busy = max(1, (time.monotonic() - began) / 3)
        for number, (spoil, limit) in enumerate([(lambda: None, 2), (lambda: hint.write_bytes(b"\xff" * 100), 15)], 1):
            receiver.on("/late", reply(500), reply(200))
            insert(db)
            db.wait_for_status(1, "retrying")
            db.close()
            server.stop()
            spoil()
            # By now it is due.
            time.sleep(1.2 * BACKOFF)
            assert len(receiver.got("/late")) == 2 * number - 1
            said = len(server.log_text())
            server.start()
            began = time.monotonic()
            db.connection = server.connect("late")
            receiver.wait(2 * number, "/late", timeout=60)
            assert time.monotonic() - began < limit * busy
            db.wait_for_status(number)
            assert server.log_lines("pg_webhook: |FATAL|ERROR", said) == []


@pytest.mark.alone
def test_a_hundred_databases_on_eight_slots(receiver):
    """Commits, also of prepared transactions, retries and logs that are to be turned over."""
    names = [f"many{number}" for number in range(100)]
    prepared, retried = set(names[1::4]), set(names[2::4])
    requests = {name: [] for name in names}

    async def behave(connection):
        name = json.loads(connection.request.body)["record"]["place"]
        requests[name].append(time.monotonic())
        refused = name in retried and len(requests[name]) == 1
        return await reply(500 if refused else 200)(connection)

    receiver.default(behave)
    with server_with(slots=6, fsync="off", max_prepared_transactions=100) as server:
        db = Database(server, "origin")
        db.run("CREATE TABLE items (place text DEFAULT current_database())")
        db.create("hook", receiver.url(), table_name="items", signature="none", retry_backoff_seconds=BACKOFF)
        db.close()
        with server.connect() as admin:
            for name in names:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE origin STRATEGY file_copy")
        sessions = {name: server.connect(name) for name in names}
        for session in sessions.values():
            session.execute("SELECT webhook_arm()")
        for name in prepared:
            sessions[name].execute("BEGIN; INSERT INTO items DEFAULT VALUES; PREPARE TRANSACTION '%s'" % name)
        busy = "SELECT count(*) FROM webhook.workers WHERE state NOT IN ('resting', 'running')"
        wait_until(lambda: sessions[names[0]].execute(busy).fetchone() == (0,), "quiet")
        committed = {}
        for number, (name, session) in enumerate(sessions.items()):
            session.execute(f"COMMIT PREPARED '{name}'" if name in prepared else "INSERT INTO items DEFAULT VALUES")
            committed[name] = time.monotonic()
            wait_until(lambda: sum(map(bool, requests.values())) > number - 40, "those before", 10)
        wait_until(lambda: all(len(requests[name]) == 1 + (name in retried) for name in names), lambda: requests)
        assert max(requests[name][0] - committed[name] for name in names) < 10
        assert max(requests[name][1] - requests[name][0] for name in retried) < 1.2 * BACKOFF + 10
        slots = lambda: [session.execute("SELECT slot FROM webhook.ring").fetchone() for session in sessions.values()]
        before = slots()
        server.reload(pg_webhook__log_retention="60")
        wait_until(lambda: all(now != then for now, then in zip(slots(), before)), "all logs to turn", interval=0.2)


@pytest.mark.alone
def test_the_board_has_256_places(receiver):
    """A place is for a database with the extension; there is one less than there are of these."""
    with server_with(slots=16, fsync="off") as server:
        Database(server, "origin").close()
        names = [f"many{number}" for number in range(256)]
        with server.connect() as admin:
            for name in names:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE origin STRATEGY file_copy")
            full = "256 others have the extension already"
            states = "SELECT state, count(*) FROM webhook.workers GROUP BY 1"
            with server.connect("origin") as origin:
                wait_until(lambda: server.log_lines(full), lambda: f"the log to say so: {origin.execute(states).fetchall()}", 120)
            assert len(server.log_lines(full)) == 1
            states = [server.connect(name).execute("SELECT state FROM webhook.worker").fetchone()[0] for name in names]
            assert states.count("no place") == 1
            with server.connect(names[states.index("no place")]) as homeless:
                told = homeless.execute("SELECT problem, hint FROM webhook_check()").fetchall()
            assert "no worker: 256 other databases of the server have the extension" in [problem for problem, _ in told]
