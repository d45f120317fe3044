"""What keeps a whole database from sending shows within two seconds, as health `stopped` or `unarmed`, in webhook_check and in webhook_why, to
ordinary roles; and webhook_stop, which does that on purpose."""

import json
import os
import signal
import time

import psycopg
import pytest

from harness import wait_until
from harness.copies import copy_database
from harness.databases import server_with
from harness.dumps import dump, restore
from harness.receiver import after, reply
from harness.status import check, furnish, health, is_well, shows


@pytest.fixture
def own(own_cluster, make_db, receiver):
    """A database of an ordinary role, in a server of its own."""
    return furnish(make_db(own_cluster(pg_webhook__server="'one'", allow_in_place_tablespaces="on")), receiver)


@pytest.fixture
def shared(db, receiver):
    return furnish(db, receiver)


@pytest.fixture
def admin(people):
    return people("adm", "admin")


def is_stopped(db, words, since=None, severity="error"):
    """For everybody who may call webhook_check, whether of one webhook or of all."""
    shows(db, "stopped", words, "waits", since=since)
    told = db.rows("SELECT webhook, severity, problem FROM webhook_check()")
    assert [row for row in told if words in row[2]][0][:2] == (None, severity)
    # It is told first.
    assert words in told[0][2] or len(told) > 1


def records(receiver):
    return sorted(json.loads(request.body)["record"]["id"] for request in receiver.got())


def test_certificates_that_cannot_be_read(own, receiver):
    """Nothing stops by that, and it is told."""
    for file, reason in (("/nonexistent.pem", "No such file or directory"), (own.cluster.folder / "empty.pem", "no certificate in it")):
        if "empty" in str(file):
            file.write_text("")
            file.chmod(0o644)
        own.cluster.reload(pg_webhook__ca_file=f"'{file}'")
        told = lambda: own.rows("SELECT severity, problem FROM webhook_check()")
        wait_until(lambda: told() == [("warning", "the certificates of pg_webhook.ca_file cannot be read")], told, 5)
        log = f'could not read certificates from "{file}": {reason}'
        wait_until(lambda: log in own.cluster.log_text(), "the log to say why")
    own.run("INSERT INTO items VALUES (1)")
    own.wait_for_status(1)
    own.cluster.reload(pg_webhook__ca_file="''")
    wait_until(lambda: not own.rows("SELECT FROM webhook_check()"), "it to be over", 5)


def test_the_switch_of_the_server(own, receiver):
    own.cluster.reload(pg_webhook__enabled="off")
    wait_until(lambda: own.value("SHOW pg_webhook.enabled") == "off", "the switch")
    is_stopped(own, "pg_webhook.enabled is off", time.monotonic())
    own.run("INSERT INTO items VALUES (1)")
    own.cluster.reload(pg_webhook__enabled="on")
    own.wait_for_status(1)
    is_well(own)


def test_the_switch_of_the_database(shared, admin, receiver):
    """By an admin, who need be no superuser: what is captured waits, and is sent when another one ends it."""
    assert admin.value("SELECT webhook_stop()") is True
    is_stopped(shared, f"stopped by role {admin.role} at 20", time.monotonic())
    assert shared.judge.value("SELECT webhook_stop()") is False
    shared.run("INSERT INTO items SELECT generate_series(1, 3)")
    assert shared.value("SELECT status_code FROM webhook_test('hook')") == 200
    # Whoever has it begin again has it stopped still.
    pid = shared.worker()
    shared.judge.run("SELECT pg_terminate_backend(%s)", pid)
    shared.wait_for_worker(other_than=pid)
    is_stopped(shared, f"by role {admin.role}")
    assert len(receiver.got()) == 1
    [hint] = [hint for _, problem, hint in check(shared) if problem.startswith("stopped by")]
    assert shared.judge.value(hint[:hint.index(",")]) is True
    assert admin.value("SELECT webhook_start()") is False
    shared.wait_for_status(4)
    is_well(shared)


def test_it_is_as_transactional_as_anything(shared, admin):
    admin.run("BEGIN; SELECT webhook_stop(); ROLLBACK")
    is_well(shared)
    for person, code in ((shared, "42501"), (admin, "55000")):
        for function in ("webhook_stop", "webhook_start"):
            level = "REPEATABLE READ" if person is admin else "READ COMMITTED"
            with pytest.raises(psycopg.Error) as refused:
                person.run(f"BEGIN ISOLATION LEVEL {level}; SELECT {function}()")
            assert refused.value.sqlstate == code
            person.run("ROLLBACK")
    is_well(shared)


def test_what_waits_in_memory_is_not_sent_and_what_is_under_way_ends(shared, admin, receiver):
    """As at any orderly stop."""
    shared.run("SELECT webhook_update('hook', max_concurrency => 2)")
    receiver.default(after(0.3, reply(200)))
    shared.run("INSERT INTO items SELECT generate_series(1, 20)")
    receiver.wait(2)
    admin.run("SELECT webhook_stop()")
    wait_until(lambda: shared.judge.value("SELECT in_flight FROM webhook.worker") == 0, "what is under way")
    sent = len(receiver.got())
    assert sent < 20
    wait_until(lambda: shared.statuses() == {"delivered": sent, "pending": 20 - sent}, lambda: str(shared.statuses()))
    time.sleep(1)
    assert len(receiver.got()) == sent
    receiver.default(reply(200))
    admin.run("SELECT webhook_start()")
    shared.wait_for_status(20)
    assert records(receiver) == list(range(1, 21))


def test_it_stays_over_every_end_and_goes_along_with_a_copy(own, copy_of, make_db, receiver):
    server, name = own.cluster, own.name
    own.judge.run("SELECT webhook_stop()")
    own.run("INSERT INTO items VALUES (1)")
    standby = copy_of(server, standby=True).start()

    def stays(place=server, database=name):
        with place.connect(database, user=own.owner) as there:
            found = there.execute("SELECT health, health_reason FROM webhook.webhooks").fetchone()
            assert found[0] == "stopped" and "stopped by role postgres at 20" in found[1], found

    own.close()
    for end in (server.stop, server.crash):
        end()
        server.start()
        stays()
    copy_database(server, name, "copy")
    stays(database="copy")
    server.stop()
    standby.promote()
    stays(standby)
    assert not receiver.got()
    with standby.connect(name) as there:
        there.execute("SELECT webhook_start()")
    receiver.wait(1)


def test_a_dump_holds_none(own, copy):
    """It is unarmed where it is restored."""
    own.judge.run("SELECT webhook_stop()")
    other = copy(own.cluster)
    restore(other, dump(own, "-Fc"))
    assert other.rows("SELECT health FROM webhook.webhooks") == [("broken",)]
    assert [problem for _, problem, _ in check(other) if "stopped by" in problem] == []
    own.judge.run("SELECT webhook_start()")


def test_a_library_that_is_not_preloaded(own_cluster, make_db, receiver):
    server = own_cluster(shared_preload_libraries="''")
    db = make_db(server, extension=False)
    db.run("SET client_min_messages = error; CREATE EXTENSION pg_webhook")
    furnish(db, receiver)
    is_stopped(db, "pg_webhook is not in shared_preload_libraries", time.monotonic())


def test_a_standby(own, copy_of):
    standby = copy_of(own.cluster, standby=True).start()
    with own.cluster.connect() as primary, standby.connect() as there:
        lsn = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        wait_until(lambda: there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", lsn).fetchone()[0], "replay")
    with standby.connect(own.name, user=own.owner) as there:
        reader = type(own.judge)(there)
        # It is as it should be, and there is nothing to paste that would make two primaries.
        is_stopped(reader, "the server is a standby, which sends nothing", time.monotonic(), severity="notice")
        assert "pg_promote" not in reader.value("SELECT string_agg(hint, ' ') FROM webhook_check()")


@pytest.mark.parametrize("slots, words", [(0, "no background worker slot has been free since 20"), (-1, "the launcher of pg_webhook has not begun")])
def test_no_slot(make_db, receiver, slots, words):
    """For the worker, and for the launcher."""
    with server_with(slots) as server:
        db = make_db(server, "site", extension=False)
        db.run("CREATE EXTENSION pg_webhook")
        furnish(db, receiver)
        is_stopped(db, words)


def test_another_version(own):
    # Where others take turns there may be none just then, which would be said first.
    own.wait_for_worker()
    version = own.judge.value("SELECT extversion FROM pg_extension WHERE extname = 'pg_webhook'")
    own.judge.run("UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'pg_webhook'")
    is_stopped(own, f"the extension has version 0.0.1, and the library {version}", time.monotonic())
    # What the worker does then is told once.
    own.judge.run("SELECT webhook_update('hook', description => 'x')")
    wait_until(lambda: own.judge.value("SELECT state FROM webhook.worker") == "version mismatch", "the worker to notice")
    assert health(own)[1].count(";") == 0
    own.judge.run("UPDATE pg_extension SET extversion = %s WHERE extname = 'pg_webhook'", version)


def test_a_worker_that_cannot_begin(shared):
    """With the reason that it has told."""
    row = shared.judge.rows("DELETE FROM webhook.ring RETURNING slot, since")[0]
    shared.judge.run("SELECT pg_terminate_backend(%s)", shared.worker())
    wait_until(lambda: shared.judge.value("SELECT last_error IS NOT NULL FROM webhook.worker"), "the worker to say so")
    is_stopped(shared, "the worker cannot begin: a row of webhook.cursor, ring or installation is missing", time.monotonic())
    shared.judge.run("INSERT INTO webhook.ring (slot, since) VALUES (%s, %s)", *row)
    is_well(shared)


def test_a_worker_that_fails(shared):
    """Whatever it does."""
    shared.judge.run("ALTER TABLE webhook.closed RENAME TO away")
    shared.run("SELECT webhook_update('hook', description => 'x'); INSERT INTO items VALUES (1)")
    wait_until(lambda: shared.judge.value("SELECT last_error IS NOT NULL FROM webhook.worker"), "the worker to say so")
    is_stopped(shared, 'the worker fails, and tries again: relation "webhook.closed" does not exist', time.monotonic())
    shared.judge.run("ALTER TABLE webhook.away RENAME TO closed")
    shared.wait_for_status(1)
    is_well(shared)


def test_a_backlog_that_is_locked(shared, receiver):
    """Hampers it, and what need not go there is sent."""
    with shared.judge.connection.transaction():
        shared.judge.run("LOCK TABLE webhook.pending IN ACCESS EXCLUSIVE MODE")
        receiver.on("/", reply(500), reply(200))
        with shared.cluster.connect(shared.name, user=shared.owner) as writer:
            writer.execute("INSERT INTO items VALUES (1)")
        with shared.cluster.connect(shared.name) as other:
            wait_until(lambda: other.execute("SELECT last_error IS NOT NULL FROM webhook.worker").fetchone()[0], "the worker to say so")
            told = other.execute("SELECT severity, problem, hint FROM webhook.standstill").fetchall()
    [(severity, problem, hint)] = told
    assert severity == "warning" and problem.startswith("the worker is held up: new events are sent, retries wait: webhook.pending is locked") and hint
    shared.wait_for_status(1)


def test_a_worker_that_is_gone(own):
    """While nobody starts another one; the launcher is kept from it."""
    [launcher] = own.cluster.processes("pg_webhook launcher")
    os.kill(launcher, signal.SIGSTOP)
    try:
        own.judge.run("SELECT pg_terminate_backend(%s)", own.worker())
        wait_until(lambda: own.judge.value("SELECT pid IS NULL FROM webhook.worker"), "its end")
        is_stopped(own, "no worker runs", time.monotonic())
    finally:
        os.kill(launcher, signal.SIGCONT)
    own.wait_for_worker()
    is_well(own)


def test_a_crash_of_the_worker(own, receiver):
    """The server starts again, and says so no longer."""
    own.cluster.signal_process(own.worker())

    def again():
        try:
            with own.cluster.connect(own.name, user=own.owner) as there:
                return health(type(own.judge)(there)) == ("healthy", None)
        except psycopg.OperationalError:
            return False

    wait_until(again, "the server and the worker")


def test_a_database_without_connections(own):
    with own.cluster.connect() as elsewhere:
        elsewhere.execute(f"ALTER DATABASE {own.name} ALLOW_CONNECTIONS false")
    is_stopped(own, f"database {own.name} allows no connections", time.monotonic())
    [hint] = [hint for _, problem, hint in check(own) if "allows no connections" in problem]
    with own.cluster.connect() as elsewhere:
        elsewhere.execute(hint)
    own.run("INSERT INTO items VALUES (1)")
    own.wait_for_status(1)
    is_well(own)


def test_unarmed(own):
    own.close()
    copy_database(own.cluster, own.name, "copy")
    with own.cluster.connect("copy", user=own.owner) as there:
        reader = type(own.judge)(there)
        shows(reader, "unarmed", "unarmed: the database is a copy", "waits", since=time.monotonic())


def test_who_may_not_see_the_worker_sees_the_code_of_its_error(shared, writer):
    """The rest of it may come from a table."""
    row = shared.judge.rows("DELETE FROM webhook.ring RETURNING slot, since")[0]
    shared.judge.run("SELECT pg_terminate_backend(%s)", shared.worker())
    wait_until(lambda: "cannot begin" in (health(shared)[1] or ""), lambda: str(health(shared)))
    told = "SELECT detail FROM webhook.obstacles() WHERE kind = 'cannot begin'"
    assert shared.value(told) == "a row of webhook.cursor, ring or installation is missing"
    assert writer.value(told) == "internal_error"
    shared.judge.run("INSERT INTO webhook.ring (slot, since) VALUES (%s, %s)", *row)
    is_well(shared)
