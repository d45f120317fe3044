"""Dumps and copies of databases: what is unarmed sends nothing, loses nothing and says so; what is armed goes on.

Whoever has a webhook here is an ordinary role; a superuser restores and copies, and an admin arms what has been restored."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from harness import wait_until
from harness.cluster import Database
from harness.copies import copy_database, health, ids, records, wait_for_state
from harness.receiver import reply
from harness.ring import SLOTS, turn
from harness.waiting import waits_for_a_lock


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


@pytest.fixture
def origin(own_cluster, make_db, receiver):
    """Makes a server with a database of an ordinary role's webhook on a table."""
    def make(**settings):
        server = own_cluster(**settings)
        db = make_db(server, "origin").hand_over()
        db.run("CREATE TABLE items (id int PRIMARY KEY)")
        db.create("hook", receiver.url("/"), table_name="items")
        return server, db

    return make


UNSIGNED = {"signature": "none"}


def test_what_a_dump_has_brought_sends_nothing_before_it_is_armed(db, cluster, people, receiver, restored):
    """Also where it needs no secret, and beside webhooks that were made there."""
    db.hand_over()
    boss = people("boss", "admin")
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
        wait_until(lambda: other.statuses() == {"delivered": 2, "pending": 3}, "the new webhook's to be written down")
        assert not receiver.got("/old")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute("SELECT webhook_arm()")
    # An admin has the level there that it had in the original, and no right on the table.
    with cluster.connect(other.name, user=boss.role) as admin:
        assert admin.execute("SELECT webhook_arm()").fetchone() == (True,)
        receiver.wait(3, "/old")
        assert sorted(records(receiver, "/old")) == [1, 2, 3], "what it has captured there has waited"
        wait_for_state(other.connection, "running")
        assert admin.execute("SELECT webhook_arm()").fetchone() == (False,)
    with cluster.connect(other.name, user=db.owner) as owner:
        owner.execute("INSERT INTO items VALUES (4)")
    receiver.wait(4, "/old")
    assert other.rows("SELECT * FROM webhook_check()") == []


def test_a_dump_that_keeps_goes_on_as_well(db, cluster, people, receiver, restored):
    db.hand_over()
    boss = people("boss", "admin")
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", **UNSIGNED)
    other = restored(db)
    other.run("SELECT webhook_update('hook', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')")
    other.run("INSERT INTO items VALUES (1)")
    before = other.value("SELECT event_id FROM webhook.deliveries")
    with cluster.connect(other.name, user=boss.role) as admin:
        assert admin.execute("SELECT webhook_arm(keep => true)").fetchone() == (True,)
    receiver.wait(1)
    assert ids(receiver) == [before]


def test_keep_and_new_exclude_each_other(db):
    for arguments, code in (("true, true", "22023"), ("NULL, false", "22004"), ("false, NULL", "22004")):
        with pytest.raises(psycopg.Error) as raised:
            db.run(f"SELECT webhook_arm({arguments})")
        assert raised.value.sqlstate == code


def test_a_database_is_not_armed_in_an_old_snapshot(db):
    """What the worker has moved since then would not be forgotten."""
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState), db.connection.transaction():
            db.run(f"SET TRANSACTION ISOLATION LEVEL {level}")
            db.run("SELECT webhook_arm()")


def test_a_copy_forgets_what_came_and_sends_what_it_has_captured(origin, receiver, make_receiver):
    """At once, when it is armed; also what was captured before anything had noticed that it is a copy."""
    server, db = origin()
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
        wait_until(lambda: server.log_lines("this database is a copy: nothing is sent before public.webhook_arm"), "the log to say so")
        owner.execute("INSERT INTO items VALUES (4)")
        owner.execute("SELECT webhook_resume('hook')")
        assert health(owner) == ("unarmed", "unarmed: the database is a copy of the one that the webhook was made in")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            owner.execute("SELECT webhook_test('hook')")
        owner.execute("SELECT webhook_create('more', %s, 'items')", [receiver.url("/more")])
        owner.execute("INSERT INTO items VALUES (5)")
        # What is captured in the original by now is sent, so that what is captured here would have been.
        beside = make_receiver()
        with server.connect("origin", user=db.owner) as origin:
            origin.execute("SELECT webhook_create('beside', %s)", [beside.url("/")])
            origin.execute("SELECT webhook_invoke('beside', i) FROM (SELECT 1 AS id) AS i")
        beside.wait(1)
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


def test_a_copy_that_nobody_has_armed_stays_within_its_bounds(origin, receiver):
    """Its log turns, and what waits is bounded. What is armed then has of both what it would have had."""
    server, db = origin()
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items VALUES (1), (2)")
    db.wait_for_status(2, "pending")
    db.close()
    copy_database(server, "origin", "copy")
    waiting = "SELECT count(*) FROM webhook.pending WHERE next_at < 'infinity'"
    with server.connect("copy") as copy, server.connect("copy", user=db.owner) as owner:
        owner.execute("SELECT webhook_resume('hook')")
        owner.execute("INSERT INTO items VALUES (3), (4), (5)")
        # What has come is in the first, which has its turn after the last.
        copy.execute("UPDATE webhook.ring SET slot = %s", [SLOTS - 1])
        assert turn(copy) == 0
        assert copy.execute("SELECT count(*) FROM webhook.event").fetchone() == (0,)
        assert copy.execute(waiting).fetchone() == (5,)
        owner.execute("SELECT webhook_update('hook', max_backlog => 2)")
        wait_until(lambda: copy.execute(waiting).fetchone() == (2,), "the bound to hold")
        assert copy.execute("SELECT state FROM webhook.worker").fetchone() == ("unarmed",)
        assert not receiver.got()
        assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
        receiver.wait(2)
        wait_until(lambda: copy.execute(waiting).fetchone() == (0,), "what waited to be written down")
        assert sorted(records(receiver)) == [4, 5]
        # Dead letters of its own, and none that came.
        assert owner.execute("SELECT count(*) FROM webhook.dead_letters").fetchone() == (1,)


def test_a_copy_of_a_copy_that_nobody_has_armed(origin, receiver):
    """What that one has captured comes along as what the original has: it goes on, and sends it when it is armed."""
    server, db = origin()
    db.close()
    copy_database(server, "origin", "first")
    with server.connect("first") as copy, server.connect("first", user=db.owner) as owner:
        owner.execute("INSERT INTO items VALUES (1)")
        wait_for_state(copy, "unarmed")
    copy_database(server, "first", "second")
    with server.connect("second") as copy, server.connect("second", user=db.owner) as owner:
        owner.execute("INSERT INTO items VALUES (2)")
        wait_for_state(copy, "unarmed")
        owner.execute("INSERT INTO items VALUES (3)")
        assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
        receiver.wait(2)
        wait_until(lambda: owner.execute("SELECT status FROM webhook.deliveries").fetchall() == [("delivered",)] * 2, "both to be written down")
    assert sorted(records(receiver)) == [2, 3]
    with server.connect("first") as copy:
        assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
    receiver.wait(3)
    assert sorted(records(receiver)) == [1, 2, 3]


def test_two_arm_a_copy(own_cluster, make_db, receiver):
    """The later one finds it armed."""
    server = own_cluster()
    db = make_db(server, "origin").hand_over()
    db.create("hook", receiver.url("/"))
    db.close()
    copy_database(server, "origin", "copy")
    arm = "SELECT webhook_arm()"
    with server.connect("copy") as copy, server.connect("copy") as one, server.connect("copy") as other, ThreadPoolExecutor() as pool:
        with one.transaction():
            assert one.execute(arm).fetchone() == (True,)
            id = one.execute("SELECT id FROM webhook.installation").fetchone()
            later = pool.submit(lambda: other.execute(arm).fetchone())
            wait_until(lambda: waits_for_a_lock(copy, other), "the other one to wait")
        assert later.result() == (False,)
        assert copy.execute("SELECT id FROM webhook.installation").fetchone() == id


@pytest.fixture
def unarmed(origin):
    """A copy, and four sessions in it: to look, of whoever arms it, of its owner and of another superuser."""
    server, db = origin()
    db.close()
    copy_database(server, "origin", "copy")
    with (
        server.connect("copy") as judge,
        server.connect("copy") as admin,
        server.connect("copy", user=db.owner) as owner,
        server.connect("copy") as other,
        ThreadPoolExecutor() as pool,
    ):
        yield judge, admin, owner, other, pool


def test_a_copy_is_armed_while_somebody_changes_a_webhook(unarmed):
    """And goes on to write to the backlog, which arming locks as well."""
    judge, admin, owner, other, pool = unarmed
    with other.transaction():
        other.execute("SELECT webhook_update('hook', max_retries => 1)")
        arming = pool.submit(lambda: admin.execute("SELECT webhook_arm()").fetchone())
        wait_until(lambda: waits_for_a_lock(judge, admin), "arming to wait")
        other.execute("""
            SELECT webhook_backlog_import(b) FROM (
                SELECT uuid AS webhook, 1::bigint AS id, '1'::xid8 AS transaction, 'evt_1' AS event_id, 'users.insert' AS event_type,
                    NULL AS schema_name, NULL AS table_name, '{}' AS payload, NULL AS failure, now() AS created_at,
                    now() + '1 hour' AS next_attempt_at, now() AS first_attempt_at, 0 AS attempts, NULL::smallint AS status_code,
                    NULL::bigint AS duration_us, NULL AS error, NULL AS response_body, NULL::bigint[] AS keys
                FROM webhook.webhook
            ) AS b
        """)
    assert arming.result() == (True,)
    assert judge.execute("SELECT id FROM webhook.deliveries").fetchall() == [(1,)], "what has been imported there stays"


def test_what_is_written_by_hand_in_a_copy_is_its_own(origin):
    """Also before anything has been captured there, and without a worker that would notice that it is a copy."""
    server, db = origin()
    db.close()
    server.stop()
    server.configure(shared_preload_libraries="''")
    server.start()
    with server.connect("origin", user=db.owner) as owner:
        owner.execute("INSERT INTO items VALUES (1)")
    # Of another server, so that it is not there.
    moving = """
        CREATE TEMP TABLE moving AS SELECT * FROM webhook_backlog_export();
        UPDATE moving SET id = id - 1, transaction = '3';
        SELECT webhook_backlog_import(m) FROM moving AS m
    """
    for name, user, statement in [
        ("one", db.owner, "SELECT webhook_replay(id) FROM webhook.deliveries"),
        ("moved", "postgres", moving),
    ]:
        copy_database(server, "origin", name)
        with server.connect(name) as copy, server.connect(name, user=db.owner) as owner:
            with server.connect(name, user=user) as writer:
                writer.execute(statement)
            owner.execute("INSERT INTO items VALUES (2)")
            assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
            assert owner.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (2,), name


def test_a_copy_is_armed_while_somebody_drops_the_extension(unarmed):
    """Whichever comes first is waited for."""
    judge, admin, owner, other, pool = unarmed
    wait_for_state(judge, "unarmed")
    with judge.transaction():
        judge.execute("LOCK TABLE webhook.pending IN ROW EXCLUSIVE MODE")
        arming = pool.submit(lambda: admin.execute("SELECT webhook_arm()").fetchone())
        wait_until(lambda: waits_for_a_lock(judge, admin), "arming to wait")
        dropping = pool.submit(lambda: other.execute("DROP EXTENSION pg_webhook").statusmessage)
        wait_until(lambda: waits_for_a_lock(judge, other), "the drop to wait")
    assert arming.result() == (True,)
    assert dropping.result() == "DROP EXTENSION"


def test_whoever_waits_for_the_extension_to_be_dropped_is_told(db, cluster, people):
    db.hand_over()
    db.create("hook", "http://127.0.0.1:9/")
    with cluster.connect(db.name) as dropping, cluster.connect(db.name, user=db.owner) as owner, ThreadPoolExecutor() as pool:
        with dropping.transaction():
            dropping.execute("DROP EXTENSION pg_webhook")
            call = pool.submit(owner.execute, "SELECT webhook_pause('hook')")
            wait_until(lambda: waits_for_a_lock(db.connection, owner), "the call to wait")
        with pytest.raises(psycopg.errors.UndefinedObject, match="extension pg_webhook has been dropped meanwhile"):
            call.result()


def test_nobody_who_may_not_drop_the_extension_keeps_others_from_it(db, cluster, people, receiver):
    """Nor from schema webhook, nor the worker, whatever they leave open."""
    db.hand_over()
    one, other = people("one", "member"), people("other", "member")
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    one.run("BEGIN")
    one.run("SELECT webhook_check()")
    other.run("SET statement_timeout = '5s'")
    for statement in ("DROP EXTENSION pg_webhook", "DROP EXTENSION IF EXISTS pg_webhook CASCADE", "DROP SCHEMA webhook CASCADE"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of"):
            other.run(statement)
    other.run("BEGIN")
    other.run("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION pg_temp.f() DEPENDS ON EXTENSION pg_webhook")
    db.run("SET statement_timeout = '5s'")
    with cluster.connect(db.name) as dropping, ThreadPoolExecutor() as pool:
        # Of whoever may drop it a drop waits for the other one, and nobody for it meanwhile.
        drop = pool.submit(dropping.execute, "DROP EXTENSION pg_webhook")
        wait_until(lambda: waits_for_a_lock(db.judge.connection, dropping), "the drop to wait")
        db.run("INSERT INTO items VALUES (1)")
        receiver.wait(1)
        assert db.value("SELECT count(*) FROM webhook_check()") == 0
        db.settled()
        dropping.cancel()
        assert isinstance(drop.exception(), psycopg.errors.QueryCanceled)


def test_what_the_worker_sees_while_a_copy_is_armed_does_not_stay(origin, receiver):
    """It came with the copy, and the worker is about to take it out of the log."""
    server, db = origin(pg_webhook__enabled="off")
    db.run("INSERT INTO items VALUES (1), (2)")
    db.close()
    copy_database(server, "origin", "copy")
    with server.connect("copy") as copy, server.connect("copy") as admin, server.connect("copy", user=db.owner) as owner:
        owner.execute("INSERT INTO items VALUES (3)")
        wait_for_state(copy, "unarmed")
        with admin.transaction():
            admin.execute("SELECT webhook_arm()")
            server.configure(pg_webhook__enabled="on")
            server.reload()
            # The original has read the setting, and soon so has the copy, which looks at once.
            receiver.wait(2)
            time.sleep(2)
        receiver.wait(3)
        wait_until(lambda: copy.execute("SELECT count(*) FROM webhook.pending").fetchone() == (0,), "nothing to wait")
        assert owner.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (1,)
    assert not server.log_lines("have vanished|trying again")
    assert sorted(records(receiver)) == [1, 2, 3]


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
