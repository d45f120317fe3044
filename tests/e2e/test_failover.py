"""Failovers: it is the same installation, and goes on."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

from harness import Receiver, wait_until
from harness.copies import ids, records, resume, state
from harness.receiver import after, reply


def follows(standby, server):
    """Wait until a standby has all that is on disk."""
    with server.connect() as admin, standby.connect() as there:
        written = admin.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        wait_until(lambda: there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written).fetchone()[0], "replay")


def synchronous(server, copy_of):
    """A standby that each commit of the server waits for."""
    standby = copy_of(server, standby=True).start()
    server.reload(synchronous_standby_names="'*'")
    with server.connect() as admin:
        wait_until(lambda: admin.execute("SELECT sync_state FROM pg_stat_replication").fetchone() == ("sync",), "the standby")
    return standby


def take_over(server, standby):
    server.crash()
    standby.configure(synchronous_standby_names="''")
    standby.promote()


def no_id_twice(receiver):
    """With another body."""
    bodies = {}
    for request in receiver.got():
        assert bodies.setdefault(request.id, request.body) == request.body


def process(server, kind):
    with server.connect() as admin:
        return admin.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = %s", [kind]).fetchone()[0]


def only_what_the_standby_has_is_sent(site, standby):
    """A webhook that nobody has paused: nothing of a commit that waits for the standby, and all of it afterwards."""
    elsewhere = Receiver()
    try:
        site.run("CREATE TABLE others (id int PRIMARY KEY)")
        site.create("other", elsewhere.url("/"), table_name="others")
        with site.judge.connection.cursor() as asks, site.connect() as writer, site.connect() as other, ThreadPoolExecutor(2) as background:
            walreceiver = process(standby, "walreceiver")
            os.kill(walreceiver, signal.SIGSTOP)
            try:
                written = background.submit(writer.execute, "INSERT INTO others VALUES (1)")
                waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
                wait_until(lambda: asks.execute(waits, [writer.info.backend_pid]).fetchone() == ("SyncRep",), "the commit to wait")
                # The worker has looked meanwhile.
                worker = "SELECT pid FROM webhook.worker WHERE state = 'running'"
                [pid] = asks.execute(worker).fetchone()
                asks.execute("SELECT pg_terminate_backend(%s)", [pid])
                wait_until(lambda: asks.execute(worker).fetchone() not in (None, (pid,)), "the worker")
                assert not written.done() and not elsewhere.got()
                # Who cancels the wait has the commit on this server alone, as PostgreSQL says, and its event is sent.
                cancelled = background.submit(other.execute, "INSERT INTO others VALUES (2)")
                wait_until(lambda: asks.execute(waits, [other.info.backend_pid]).fetchone() == ("SyncRep",), "the commit to wait")
                asks.execute("SELECT pg_cancel_backend(%s)", [other.info.backend_pid])
                cancelled.result(60)
                elsewhere.wait(1)
                assert records(elsewhere) == [2] and not written.done()
            finally:
                os.kill(walreceiver, signal.SIGCONT)
            written.result(60)
        elsewhere.wait(2)
        site.run("SELECT webhook_delete('other')")
    finally:
        elsewhere.close()


def nothing_is_sent_before_the_standby_is_promoted(site, standby, receiver):
    """Of a webhook that nobody has paused any more, while its server is switched off and the standby is not."""
    server, worker, sent = site.cluster, site.worker(), len(receiver.got())
    server.reload(pg_webhook__enabled="off")
    wait_until(lambda: site.value("SHOW pg_webhook.enabled") == "off", "the switch")
    # The next worker begins with it.
    site.judge.run("SELECT pg_terminate_backend(%s)", worker)
    site.wait_for_worker(other_than=worker)
    resume(server, site)
    follows(standby, server)
    with standby.connect(site.name, user=site.owner) as there:
        assert there.execute("SHOW pg_webhook.enabled").fetchone() == ("on",)
        [(health, reason, pending)] = there.execute("SELECT health, health_reason, pending FROM webhook.webhooks").fetchall()
        assert (health, reason, pending) == ("stopped", "the server is a standby, which sends nothing", 98)
    with standby.connect(site.name) as there:
        assert state(there) == "stopped"
        assert there.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'pg_webhook'").fetchone() == (0,)
    assert len(receiver.got()) == sent


def test_a_synchronous_standby_loses_nothing(site, copy_of, receiver):
    server = site.cluster
    standby = synchronous(server, copy_of)
    site.run("INSERT INTO items SELECT n FROM generate_series(4, 100) AS n")
    with standby.connect(site.name) as there:
        [(health, reason)] = there.execute("SELECT health, health_reason FROM webhook.webhooks").fetchall()
        assert health == "stopped" and reason.startswith("the server is a standby, which sends nothing; paused by role ")
    only_what_the_standby_has_is_sent(site, standby)
    nothing_is_sent_before_the_standby_is_promoted(site, standby, receiver)
    take_over(server, standby)
    # What waited needs nobody who says so.
    wait_until(lambda: len(set(ids(receiver))) == 100, lambda: f"all to arrive: {len(set(ids(receiver)))}")
    resume(standby, site, insert=101)
    wait_until(lambda: len(set(ids(receiver))) == 101, lambda: f"all to arrive: {len(set(ids(receiver)))}")
    assert set(records(receiver)) == set(range(1, 102))
    no_id_twice(receiver)


def test_what_is_held_behind_others_keeps_its_order(site, copy_of, receiver):
    """With one that is under way when the server is gone, and comes again before those behind it."""
    server = site.cluster
    standby = synchronous(server, copy_of)
    site.run("CREATE TABLE lined (id int PRIMARY KEY, n int)")
    site.create("lined", receiver.url("/lined"), table_name="lined", ordering="key", max_retries=0)
    receiver.on("/lined", reply(500), reply(200))
    site.run("INSERT INTO lined VALUES (1, 1)")
    site.wait_for_status(1, "dead", webhook="lined")
    for n in (2, 3):
        site.run("UPDATE lined SET n = %s", n)
    site.wait_for_status(2, "held", webhook="lined")
    receiver.on("/lined", after(2, reply(200)), reply(200))
    site.run("INSERT INTO lined VALUES (2, 10)")
    for n in (11, 12):
        site.run("UPDATE lined SET n = %s WHERE id = 2", n)
    receiver.wait(2, "/lined")
    take_over(server, standby)
    of = lambda id: [r["n"] for r in (json.loads(q.body)["record"] for q in receiver.got("/lined")) if r["id"] == id]
    wait_until(lambda: of(2) == [10, 10, 11, 12], lambda: f"them to go on: {of(2)}")
    with standby.connect(site.name, user=site.owner) as there:
        assert there.execute("SELECT held FROM webhook.webhooks WHERE name = 'lined'").fetchone() == (2,)
        assert of(1) == [1]
        there.execute("SELECT webhook_replay(id) FROM webhook.dead_letters WHERE webhook = 'lined'")
        wait_until(lambda: of(1) == [1, 1, 2, 3], lambda: f"them to go on: {of(1)}")


def test_an_asynchronous_standby_loses_what_the_server_lost(site, copy_of, receiver):
    """Rows that it never had are gone with their events, which were sent; of what it has nothing is missing."""
    server = site.cluster
    standby = copy_of(server, standby=True).start()
    site.run("INSERT INTO items SELECT n FROM generate_series(4, 50) AS n")
    follows(standby, server)
    standby.reload(primary_conninfo="''")
    with server.connect() as admin:
        wait_until(lambda: admin.execute("SELECT FROM pg_stat_replication").fetchone() is None, "the standby to be cut off")
    resume(server, site)
    site.run("INSERT INTO items SELECT n FROM generate_series(51, 60) AS n")
    wait_until(lambda: len(set(ids(receiver))) == 60, lambda: f"all to arrive: {len(set(ids(receiver)))}")
    server.crash()
    standby.promote()
    with standby.connect(site.name, user=site.owner) as owner:
        assert owner.execute("SELECT max(id) FROM items").fetchone() == (50,)
        owner.execute("INSERT INTO items SELECT n FROM generate_series(71, 90) AS n")
    before = len(receiver.got())
    resume(standby, site)
    again = {3, *range(4, 51), *range(71, 91)}
    wait_until(lambda: again <= set(records(receiver)[before:]), lambda: f"all to arrive: {records(receiver)[before:]}")
    assert set(records(receiver)[before:]) == again
    assert set(records(receiver)) == {*range(1, 61), *range(71, 91)}
    no_id_twice(receiver)


def test_a_point_in_time_goes_on_from_there(site, copy_of, receiver):
    server = site.cluster
    restored = copy_of(server, restore_command=f"'cp {server.data}/pg_wal/%f %p'", recovery_target_name="'here'", recovery_target_action="promote")
    (restored.data / "recovery.signal").touch()
    site.run("INSERT INTO items VALUES (4)")
    site.judge.run("SELECT pg_create_restore_point('here')")
    site.run("SELECT webhook_resume('hook')")
    site.run("INSERT INTO items SELECT n FROM generate_series(5, 50) AS n")
    receiver.wait(50)
    site.judge.run("SELECT pg_switch_wal()")
    server.crash()
    restored.start()
    with restored.connect(site.name) as there:
        wait_until(lambda: not there.execute("SELECT pg_is_in_recovery()").fetchone()[0], "the end of recovery")
        resume(restored, site)
        with restored.connect(site.name, user=site.owner) as owner:
            owner.execute("INSERT INTO items SELECT n FROM generate_series(105, 150) AS n")
        wait_until(lambda: {3, 4, *range(105, 151)} <= set(records(receiver)[50:]), lambda: f"all to arrive: {records(receiver)[50:]}")
    assert set(records(receiver)) == {*range(1, 51), *range(105, 151)}
    no_id_twice(receiver)


def test_a_rewound_server_goes_on_as_the_other_one(site, copy_of, receiver):
    """What it had written alone is lost, as its rows are, and was sent while it had them."""
    server = site.cluster
    other = copy_of(server, standby=True).start()
    follows(other, server)
    other.promote()
    resume(server, site, insert=10)
    wait_until(lambda: 10 in records(receiver), "the event of the old one")
    resume(other, site, insert=20)
    wait_until(lambda: 20 in records(receiver), "the event of the new one")
    server.stop()
    server._run("pg_rewind", "-D", server.data, "--source-server", other.dsn())
    server.configure(unix_socket_directories=f"'{server.folder}'", primary_conninfo=f"'host={other.folder} port={other.port} user=postgres'")
    (server.data / "standby.signal").touch()
    server.start()
    follows(server, other)
    before = len(receiver.got())
    other.crash()
    server.promote()
    resume(server, site, insert=30)
    wait_until(lambda: 30 in records(receiver)[before:], "the event of the one that has been rewound")
    with server.connect(site.name) as there:
        wait_until(lambda: state(there) == "running", "the worker")
        assert there.execute("SELECT count(*) FROM items WHERE id IN (10, 20, 30)").fetchone() == (2,)
    no_id_twice(receiver)
