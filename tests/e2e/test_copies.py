"""Dumps, copies and failovers: what is unarmed sends nothing, loses nothing and says so; what is armed goes on.

Whoever has a webhook here is an ordinary role; a superuser restores, copies and arms."""

import re

import psycopg
import pytest

from harness import wait_until
from harness.cluster import Database
from harness.receiver import reply


@pytest.fixture
def restored(cluster):
    """Makes a database of a dump of another one."""
    made = []

    def restore(db):
        other = Database(cluster, f"{db.name}_restored", extension=False)
        made.append(other)
        file = cluster.folder / f"{db.name}.dump"
        reached = ("-h", cluster.folder, "-U", "postgres", "-d")
        cluster._run("pg_dump", *reached, db.name, "-Fc", "-f", file)
        cluster._run("pg_restore", *reached, other.name, "-e", file)
        return other

    yield restore
    for other in made:
        other.drop()


def copy_database(server, origin, name):
    """A database made of another one as its template. The worker of that, which is connected to it, leaves for it."""
    with server.connect() as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{origin}"')


def state(connection):
    return connection.execute("SELECT state FROM webhook.worker").fetchone()[0]


def wait_for_state(connection, wanted):
    wait_until(lambda: state(connection) == wanted, lambda: f"the worker to be {wanted}; it is {state(connection)}")


def health(connection, name="hook"):
    return connection.execute("SELECT health, health_reason FROM webhook.webhooks WHERE name = %s", [name]).fetchone()


def ids(receiver, path=None):
    return [request.id for request in receiver.got(path)]


def records(receiver, path=None):
    """The values of `id` that have arrived, in their order."""
    return [int(re.search(rb'"record":\{"id":(\d+)', request.body)[1]) for request in receiver.got(path)]


UNSIGNED = {"signature": "none"}


def test_what_a_dump_has_brought_sends_nothing_before_it_is_armed(db, cluster, receiver, restored):
    """Also where it needs no secret, and beside webhooks that were made there."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/old"), table_name="items", **UNSIGNED)
    other = restored(db)
    with cluster.connect(other.name, user=db.owner) as owner:
        owner.execute("SELECT webhook_update('hook', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')")
        assert health(owner) == ("unarmed", "unarmed: the webhook came with a dump of another database")
        assert owner.execute("SELECT webhook, severity FROM webhook_check()").fetchall() == [("hook", "error")]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='webhook "hook" is unarmed'):
            owner.execute("SELECT webhook_test('hook')")
        owner.execute("SELECT webhook_create('new', %s, 'items')", [receiver.url("/new")])
        assert health(owner, "new") == ("healthy", None)
        owner.execute("INSERT INTO items VALUES (1), (2)")
        owner.execute("SELECT webhook_invoke('hook', i) FROM (SELECT 3 AS id) AS i")
        receiver.wait(2, "/new")
        wait_until(lambda: cluster.log_lines(r"1 webhooks came with a dump of another database"), "the log to say so")
        wait_for_state(other.connection, "unarmed")
        assert other.statuses() == {"delivered": 2, "pending": 3} and not receiver.got("/old")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute("SELECT webhook_arm()")
    assert other.value("SELECT webhook_arm()") is True
    receiver.wait(3, "/old")
    assert sorted(records(receiver, "/old")) == [1, 2, 3], "what it has captured there has waited"
    wait_for_state(other.connection, "running")
    assert other.value("SELECT webhook_arm()") is False
    assert other.rows("SELECT * FROM webhook_check()") == []


def test_a_dump_that_keeps_goes_on_as_well(db, cluster, receiver, restored):
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", **UNSIGNED)
    other = restored(db)
    other.run("SELECT webhook_update('hook', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')")
    other.run("INSERT INTO items VALUES (1)")
    before = other.value("SELECT event_id FROM webhook.deliveries")
    assert other.value("SELECT webhook_arm(keep => true)") is True
    receiver.wait(1)
    assert ids(receiver) == [before]


def test_keep_and_new_exclude_each_other(db):
    for arguments, code in (("true, true", "22023"), ("NULL, false", "22004"), ("false, NULL", "22004")):
        with pytest.raises(psycopg.Error) as raised:
            db.run(f"SELECT webhook_arm({arguments})")
        assert raised.value.sqlstate == code


def test_a_copy_forgets_what_came_and_sends_what_it_has_captured(own_cluster, make_db, receiver):
    """At once, when it is armed; also what was captured before anything had noticed that it is a copy."""
    server = own_cluster()
    db = make_db(server, "origin").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    receiver.default(reply(500))
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "retrying")
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(1, "pending")
    db.close()
    copy_database(server, "origin", "copy")
    with server.connect("copy") as copy, server.connect("copy", user=db.owner) as owner:
        with owner.transaction() as rolled_back:
            # What has been noted outlives a rollback, and what comes after counts from there.
            owner.execute("INSERT INTO items VALUES (3)")
            raise psycopg.Rollback(rolled_back)
        owner.execute("INSERT INTO items VALUES (3)")
        wait_for_state(copy, "unarmed")
        assert server.log_lines("this database is a copy: nothing is sent before webhook_arm")
        owner.execute("INSERT INTO items VALUES (4)")
        owner.execute("SELECT webhook_resume('hook')")
        assert health(owner) == ("unarmed", "unarmed: the database is a copy of the one that the webhook was made in")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            owner.execute("SELECT webhook_test('hook')")
        owner.execute("SELECT webhook_create('more', %s, 'items')", [receiver.url("/more")])
        owner.execute("INSERT INTO items VALUES (5)")
        assert len(receiver.got()) == 1, "the attempt of the original"
        receiver.default(reply(200))
        assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
        requests = receiver.wait(5, timeout=5)
        assert sorted(records(receiver, "/")[1:]) == [3, 4, 5] and records(receiver, "/more") == [5]
        assert all(f'"{request.id}"'.encode() in request.body for request in requests), "known by one id"
        original = requests[0].id.split("_")[1]
        assert not [request for request in requests[1:] if original in request.id], "not by one of the original's"
        wait_for_state(copy, "running")
        assert copy.execute("SELECT webhook_arm()").fetchone() == (False,)
    with server.connect("origin", user=db.owner) as origin:
        origin.execute("SELECT webhook_resume('hook')")
        receiver.wait(7)
    assert sorted(records(receiver, "/")) == [1, 1, 2, 3, 4, 5]


def test_a_template_with_the_extension_loses_nothing(own_cluster, receiver):
    """Without a worker, too: nothing but the writer's session sees that the database is a copy."""
    server = own_cluster(shared_preload_libraries="''")
    with server.connect("template1") as template:
        template.execute("CREATE EXTENSION pg_webhook")
    with server.connect() as admin:
        admin.execute("CREATE DATABASE app")
        admin.execute("CREATE ROLE app LOGIN; ALTER DATABASE app OWNER TO app")
    with server.connect("app") as judge, server.connect("app", user="app") as app:
        judge.execute("SELECT webhook_grant('app', 'member')")
        app.execute("CREATE SCHEMA app; CREATE TABLE app.items (id int PRIMARY KEY)")
        app.execute("SELECT webhook_create('hook', %s, 'app.items')", [receiver.url("/")])
        app.execute("INSERT INTO app.items VALUES (1)")
        assert judge.execute("SELECT webhook_arm()").fetchone() == (True,)
        assert app.execute("SELECT status FROM webhook.deliveries").fetchall() == [("pending",)]
    server.stop()
    server.configure(shared_preload_libraries="'pg_webhook'")
    server.start()
    receiver.wait(1)
    assert records(receiver) == [1]


def test_a_copy_whose_original_is_gone_keeps_everything(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server, "origin").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=0)
    receiver.default(reply(500))
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "dead")
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items VALUES (2)")
    db.close()
    copy_database(server, "origin", "copy")
    with server.connect("copy") as copy, server.connect("copy", user=db.owner) as owner:
        owner.execute("SELECT webhook_resume('hook')")
        owner.execute("INSERT INTO items VALUES (3)")
        wait_for_state(copy, "unarmed")
        before = owner.execute("SELECT id, event_id, status FROM webhook.deliveries ORDER BY id").fetchall()
        receiver.default(reply(200))
        assert copy.execute("SELECT webhook_arm(keep => true)").fetchone() == (True,)
        receiver.wait(3, timeout=5)
        assert [status for _, _, status in before] == ["dead", "pending", "pending"]
        assert set(ids(receiver)) == {event for _, event, _ in before}
        assert owner.execute("SELECT count(*) FROM webhook.dead_letters").fetchone() == (1,)


# --- copies of a whole server --------------------------------------------------------------------------


@pytest.fixture
def site(own_cluster, make_db, receiver):
    """A server called `one` with a database of a webhook, of which one event has been delivered, one is dead and one waits."""
    server = own_cluster(pg_webhook__server="'one'", wal_log_hints="on", wal_keep_size="'256MB'")
    db = make_db(server, "site").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=0)
    receiver.on("/", reply(200), reply(500))
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "delivered")
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(1, "dead")
    receiver.on("/", reply(200))
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items VALUES (3)")
    db.wait_for_status(1, "pending")
    return db


@pytest.fixture
def copy_of():
    """Makes copies of servers."""
    made = []

    def make(server, standby=False, **settings):
        other = server.copy()
        made.append(other)
        if standby:
            (other.data / "standby.signal").touch()
            settings["primary_conninfo"] = f"'host={server.folder} port={server.port} user=postgres'"
        other.configure(**settings)
        return other

    yield make
    for other in made:
        other.destroy()


def resume(server, db, insert=None):
    """As the webhook's owner."""
    with server.connect(db.name, user=db.owner) as owner:
        owner.execute("SELECT webhook_resume('hook')")
        if insert:
            owner.execute("INSERT INTO items VALUES (%s)", [insert])


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


def test_a_copy_of_a_server_gets_an_installation_of_its_own(site, copy_of, receiver):
    """Where nothing tells it from the original, all that is there when it is armed is the original's."""
    other = copy_of(site.cluster, pg_webhook__enabled="off").start()
    with other.connect(site.name) as copy:
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
    before = len(receiver.got())
    site.run("INSERT INTO items VALUES (4)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        site.run("SELECT webhook_test('hook')")
    for statement in ("SET pg_webhook.server = 'one'", "ALTER SYSTEM SET pg_webhook.server = 'one'"):
        with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
            site.judge.run(statement)
    assert len(receiver.got()) == before
    server.reload(pg_webhook__server="'one'")
    receiver.wait(4)
    assert records(receiver) == [1, 2, 3, 4]


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
    assert len(server.log_lines("nothing is sent before webhook_arm", before)) == 1


# --- failovers: it is the same installation, and goes on -------------------------------------------------


def follows(standby, server):
    """Wait until a standby has all that is on disk."""
    with server.connect() as admin, standby.connect() as there:
        written = admin.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        wait_until(lambda: there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written).fetchone()[0], "replay")


def no_id_twice(receiver):
    """With another body."""
    bodies = {}
    for request in receiver.got():
        assert bodies.setdefault(request.id, request.body) == request.body


def test_a_synchronous_standby_loses_nothing(site, copy_of, receiver):
    server = site.cluster
    standby = copy_of(server, standby=True).start()
    server.reload(synchronous_standby_names="'*'")
    with server.connect() as admin:
        wait_until(lambda: admin.execute("SELECT sync_state FROM pg_stat_replication").fetchone() == ("sync",), "the standby")
    site.run("INSERT INTO items SELECT n FROM generate_series(4, 100) AS n")
    with standby.connect(site.name) as there:
        assert there.execute("SELECT health FROM webhook.webhooks").fetchone() == ("paused",)
    server.crash()
    standby.configure(synchronous_standby_names="''")
    standby.promote()
    resume(standby, site, insert=101)
    wait_until(lambda: len(set(ids(receiver))) == 101, lambda: f"all to arrive: {len(set(ids(receiver)))}")
    assert set(records(receiver)) == set(range(1, 102))
    no_id_twice(receiver)


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
