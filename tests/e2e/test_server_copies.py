"""Copies of a whole server: told by pg_webhook.server, or by whoever arms them. Whoever has the webhook is an ordinary role."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from harness import Cluster, wait_until
from harness.copies import health, records, resume, wait_for_state
from harness.waiting import waits_for_a_lock


def test_a_copy_of_a_server_that_is_called_otherwise_is_unarmed(site, copy_of, receiver):
    other = copy_of(site.cluster, pg_webhook__server="'two'").start()
    with other.connect(site.name) as copy:
        wait_for_state(copy, "unarmed")
        resume(other, site, insert=4)
        reason = "unarmed: pg_webhook.server is not as it was when the database was armed"
        assert health(copy) == ("unarmed", reason)
        assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
        receiver.wait(3, timeout=5)
        assert records(receiver) == [1, 2, 4]
        assert copy.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (1,)
        wait_for_state(copy, "running")
    # It is called so when it starts again.
    other.stop()
    other.start()
    resume(other, site, insert=5)
    resume(site.cluster, site)
    receiver.wait(5)
    assert sorted(records(receiver)) == [1, 2, 3, 4, 5]
    by_installation = {}
    for request, record in zip(receiver.got(), records(receiver)):
        by_installation.setdefault(request.id.split("_")[1], []).append(record)
    assert sorted(map(sorted, by_installation.values())) == [[1, 2, 3], [4], [5]]


def test_a_copy_that_is_called_otherwise_once_more_keeps_what_it_has_captured(site, copy_of, receiver):
    other = copy_of(site.cluster, pg_webhook__server="'two'").start()
    with other.connect(site.name) as copy:
        wait_for_state(copy, "unarmed")
        resume(other, site, insert=4)
    other.stop()
    other.configure(pg_webhook__server="'three'")
    other.start()
    with other.connect(site.name) as copy:
        wait_for_state(copy, "unarmed")
        resume(other, site, insert=5)
        assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
        receiver.wait(4)
        assert sorted(records(receiver)) == [1, 2, 4, 5]


def test_a_copy_of_a_server_gets_an_installation_of_its_own(site, copy_of, receiver):
    """Where nothing tells it from the original, all that is there when it is armed is the original's."""
    site.judge.run("CREATE ROLE boss LOGIN; SELECT webhook_grant('boss', 'admin')")
    other = copy_of(site.cluster, pg_webhook__enabled="off").start()
    with other.connect(site.name, user="boss") as copy:
        wait_for_state(copy, "running")
        resume(other, site, insert=4)
        assert copy.execute("SELECT webhook_arm()").fetchone() == (False,)
        assert copy.execute("SELECT webhook_arm(new => true)").fetchone() == (True,)
        assert copy.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (0,)
        other.reload(pg_webhook__enabled="on")
        resume(other, site, insert=5)
        [_, _, request] = receiver.wait(3)
        assert records(receiver) == [1, 2, 5]
        assert request.id.split("_")[1] != receiver.got()[0].id.split("_")[1]


def test_a_copy_whose_original_is_gone_may_be_called_otherwise(site, copy_of, receiver):
    other = copy_of(site.cluster, pg_webhook__server="'two'")
    site.cluster.crash()
    other.start()
    with other.connect(site.name) as copy:
        wait_for_state(copy, "unarmed")
        resume(other, site, insert=4)
        assert copy.execute("SELECT webhook_arm(keep => true)").fetchone() == (True,)
        receiver.wait(4, timeout=5)
        assert sorted(records(receiver)) == [1, 2, 3, 4]
        assert len({request.id.split("_")[1] for request in receiver.got() if b'"id":4}' not in request.body}) == 1
        assert copy.execute("SELECT count(*) FROM webhook.dead_letters").fetchone() == (1,)


def test_a_server_that_is_called_otherwise_stops_and_goes_on(site, receiver):
    """Also while it runs. Nobody can set it in the data directory by SQL, or for himself."""
    server = site.cluster
    resume(server, site)
    receiver.wait(3)
    server.reload(pg_webhook__server="'two'")
    wait_for_state(site.judge.connection, "unarmed")
    site.run("INSERT INTO items VALUES (4)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        site.run("SELECT webhook_test('hook')")
    for statement in ("SET pg_webhook.server = 'one'", "ALTER SYSTEM SET pg_webhook.server = 'one'"):
        with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
            site.judge.run(statement)
    server.reload(pg_webhook__server="'one'")
    receiver.wait(4)
    assert records(receiver) == [1, 2, 3, 4]


def test_a_session_notices_that_the_server_is_called_otherwise(site):
    """A long one, which has captured before: what it writes then is that of a copy, and known by the id of one."""
    server = site.cluster
    site.run("INSERT INTO items VALUES (4)")
    known_by = "SELECT split_part(event_id, '_', 2) FROM webhook.deliveries ORDER BY id DESC LIMIT 1"
    own = site.value(known_by)

    def becomes(name):
        server.reload(pg_webhook__server=f"'{name}'")
        wait_until(lambda: site.value("SELECT current_setting('pg_webhook.server')") == name, "the setting")

    becomes("two")
    site.run("INSERT INTO items VALUES (5)")
    assert site.value(known_by) != own
    assert site.judge.value("SELECT last_value FROM webhook.arrival_seq") > 1, "it has been noted"
    becomes("one")
    site.run("INSERT INTO items VALUES (6)")
    assert site.value(known_by) == own


def test_a_session_that_notices_late_leaves_no_arrival(site):
    """In the middle of a statement: what it has captured is that of a copy, and the server is called as before by then."""
    server, judge = site.cluster, site.judge
    server.reload(pg_webhook__server="'two'", pg_webhook__poll_interval="1")
    wait_for_state(judge.connection, "unarmed")
    arrival, since = "SELECT last_value FROM webhook.arrival_seq", judge.value("SELECT since::text::bigint FROM webhook.installation")
    with server.connect(site.name) as holder, site.connect() as late, ThreadPoolExecutor() as pool:
        holder.execute("SELECT pg_advisory_lock(1)")
        late.execute("SHOW pg_webhook.server")
        writing = pool.submit(late.execute, "INSERT INTO items SELECT 7 FROM (SELECT pg_advisory_lock(1)) AS l")
        wait_until(lambda: waits_for_a_lock(judge.connection, late), "the statement to wait")
        server.reload(pg_webhook__server="'one'")
        wait_for_state(judge.connection, "running")
        wait_until(lambda: judge.value(arrival) <= since, "the arrival to be forgotten")
        holder.execute("SELECT pg_advisory_unlock(1)")
        writing.result()
        known_by = "SELECT split_part(event_id, '_', 2) = (SELECT id FROM webhook.installation) FROM webhook.deliveries ORDER BY id DESC LIMIT 1"
        assert judge.value(known_by) is False, "it has not noticed"
    wait_until(lambda: judge.value(arrival) <= since, "the late one to be forgotten, too")


def test_what_somebody_has_replaced_is_no_trigger_of_ours_under_another_name_of_the_server(site):
    """Nothing has been copied: triggers count as they were made."""
    site.create("large", "http://127.0.0.1:9/", table_name="items", events=["INSERT"], condition="NEW.id > 1000")
    name, watch = site.judge.rows("""
        SELECT t.tgname, v.id FROM webhook.watched AS v JOIN webhook.webhook AS w ON w.id = v.webhook
        JOIN pg_trigger AS t ON t.tgrelid = v.relation AND t.tgname LIKE '%%' || v.id || '%%' WHERE w.name = 'large'
    """)[0]
    site.run(f'CREATE OR REPLACE TRIGGER "{name}" AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION webhook.capture(%s)' % f"'{watch}'")
    site.cluster.reload(pg_webhook__server="'two'")
    wait_for_state(site.judge.connection, "unarmed")
    assert site.judge.value("SELECT webhook_arm(keep => true)") is True
    site.run("INSERT INTO items VALUES (10)")
    assert site.judge.value("SELECT count(*) FROM webhook.event AS e JOIN webhook.webhook AS w ON w.id = e.webhook WHERE w.name = 'large'") == 0


def test_an_unarmed_database_stays_so_and_says_so_once_an_hour(site):
    """Its worker looks every now and then: nothing is used up by that."""
    server = site.cluster
    server.stop()
    server.configure(pg_webhook__server="'two'")
    before = len(server.log_text())
    server.start()
    with server.connect(site.name) as judge:
        wait_for_state(judge, "unarmed")
        worker = judge.execute("SELECT pid FROM webhook.worker").fetchone()
        for _ in range(100):
            server._run("pg_ctl", "kill", "HUP", worker[0])
        assert judge.execute("SELECT state, pid FROM webhook.worker").fetchone() == ("unarmed", *worker)
    assert len(server.log_lines("nothing is sent before public.webhook_arm", before)) == 1


def test_copied_files_of_a_server_that_was_stopped(site, receiver):
    """Beside the original, on another port: it is the same installation, which nothing tells apart, and what both have both
    send under the same ids; armed as a new one it has an id of its own, and nothing of the original's."""
    server = site.cluster
    server.configure(pg_webhook__server="''")
    server.stop()
    other = Cluster.__new__(Cluster)
    other._make_folder("files")
    other.bin, other._limited, other.port = server.bin, server._limited, server.port + 1
    subprocess.run([*server._as_user, "cp", "-a", server.data, other.data], cwd="/", check=True)
    other.configure(unix_socket_directories=f"'{other.folder}'", port=other.port, pg_webhook__enabled="off")
    try:
        server.start()
        other.start()
        with server.connect(site.name) as original:
            # It was called one before.
            assert original.execute("SELECT webhook_arm(keep => true)").fetchone() == (True,)
        resume(server, site)
        receiver.wait(3)
        with other.connect(site.name) as copy:
            assert copy.execute("SELECT webhook_arm(keep => true)").fetchone() == (True,)
            assert copy.execute("SELECT (SELECT system_identifier FROM pg_control_system()) = i.system_identifier FROM webhook.installation AS i").fetchone() == (True,)
            wait_for_state(copy, "running")
            resume(other, site)
            other.reload(pg_webhook__enabled="on")
            receiver.wait(4)
            assert records(receiver) == [1, 2, 3, 3] and receiver.got()[2].id == receiver.got()[3].id
            assert copy.execute("SELECT webhook_arm(new => true)").fetchone() == (True,)
            resume(other, site, insert=5)
            receiver.wait(5)
            assert records(receiver)[4] == 5 and receiver.got()[4].id.split("_")[1] != receiver.got()[3].id.split("_")[1]
    finally:
        other.destroy()
