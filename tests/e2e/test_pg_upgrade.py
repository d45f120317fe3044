"""pg_upgrade with all that waits: the database is unarmed afterwards, and goes on when it is armed.

Whoever has the webhooks is an ordinary role; a superuser upgrades and arms."""

import json

import pytest

from harness import Cluster, wait_until
from harness.cluster import Database
from harness.copies import copy_database, records, wait_for_state
from harness.major import MAJOR, since
from harness.older import FIRST, is_there, server_of
from harness.places import BIN
from harness.receiver import reply
from harness.verify import verify_python

# The longest way and the shortest one; 16 has nothing that neither of its neighbours has.
OLDER = [major for major in (FIRST, 17) if is_there(major)]

WAITING = 10_000


def anchors_without_dependency(session):
    """Domains of webhooks that would stay behind when the extension is dropped."""
    return session.execute(
        "SELECT count(*) FROM pg_type AS t WHERE t.typnamespace = 'webhook'::regnamespace AND t.typtype = 'd' AND NOT EXISTS ("
        "SELECT FROM pg_depend AS d WHERE d.objid = t.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'a')"
    ).fetchone()[0]


def filled(server, receiver):
    """A database with a webhook on a partitioned table that has a transform, a condition, columns and a header, many events
    that wait and one that is dead; and one on a table without all that. Returns what waits, and the secret of each path."""
    with server.connect() as admin:
        admin.execute("CREATE ROLE site_owner LOGIN")
    db = Database(server, "site")
    db.run("GRANT CREATE ON DATABASE site TO site_owner; SELECT webhook_grant('site_owner', 'member')")
    with server.connect("site", user="site_owner") as owner:
        owner.execute(
            "CREATE SCHEMA app; CREATE TABLE app.items (id int, gone text, note text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
            "ALTER TABLE app.items DROP gone;"
            "CREATE TABLE app.items_1 PARTITION OF app.items FOR VALUES FROM (0) TO (1000000);"
            "CREATE FUNCTION app.shape(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p || '{\"shaped\": true}' $$;"
            "CREATE TABLE app.plain (id int PRIMARY KEY)"
        )
        hook = owner.execute(
            "SELECT secret FROM webhook_create('hook', %s, 'app.items', '{INSERT,UPDATE}', columns => '{note}', payload_columns => '{note,id}',"
            " condition => 'NEW.note IS NOT NULL', transform => 'app.shape(jsonb)', headers => '{\"X-Token\": \"t\"}',"
            " max_concurrency => 50, max_retries => 0)",
            [receiver.url("/hook")],
        ).fetchone()[0]
        plain = owner.execute("SELECT secret FROM webhook_create('plain', %s, 'app.plain')", [receiver.url("/plain")]).fetchone()[0]
        receiver.on("/hook", reply(500), reply(200))
        owner.execute("INSERT INTO app.items VALUES (0, 'dead')")
        db.wait_for_status(1, "dead")
        owner.execute("SELECT webhook_pause('hook')")
        owner.execute("INSERT INTO app.items SELECT n, 'x' FROM generate_series(1, %s::int) AS n", [WAITING // 2])
        # Half of it is in the backlog, and half in the ring.
        wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending") == WAITING // 2 + 1, "the backlog")
        server.reload(pg_webhook__enabled="off")
        wait_until(lambda: db.value("SHOW pg_webhook.enabled") == "off", "the switch")
        owner.execute("INSERT INTO app.items SELECT n, 'x' FROM generate_series(%s::int, %s::int) AS n", [WAITING // 2 + 1, WAITING])
        ids = {row[0] for row in db.rows("SELECT event_id FROM webhook.deliveries WHERE status = 'pending'")}
    db.close()
    # One that nobody has armed, and that has captured something.
    copy_database(server, "site", "copy")
    with server.connect("copy", user="site_owner") as owner:
        owner.execute("INSERT INTO app.plain VALUES (7)")
    return ids, {"/hook": hook, "/plain": plain}


@pytest.fixture
def clusters():
    """Makes servers."""
    made = []

    def make(name, bin, major, **settings):
        initdb = ["--no-data-checksums"] if major >= 18 else []
        made.append(Cluster(name, bin=bin, initdb=initdb, **settings))
        return made[-1]

    yield make
    for server in made:
        server.destroy()


def nothing_is_sent(judge, receiver):
    """Since the one that became a dead letter, also by a worker that finds all that is there when it begins."""
    worker = "SELECT pid FROM webhook.worker WHERE state = 'unarmed'"
    [pid] = judge.execute(worker).fetchone()
    judge.execute("SELECT pg_terminate_backend(%s)", [pid])
    wait_until(lambda: judge.execute(worker).fetchone() not in (None, (pid,)), "the worker")
    assert len(receiver.got()) == 1
    assert judge.execute("SELECT count(*) FROM webhook.attempts").fetchone() == (1,)


@since(FIRST + 1)
@pytest.mark.parametrize("how", ["copy", "link"])
@pytest.mark.parametrize("older", OLDER or [FIRST])
def test_pg_upgrade_keeps_all_that_waits(clusters, receiver, older, how):
    bin = server_of(older)
    old = clusters("old", bin, older).start()
    waiting, secrets = filled(old, receiver)
    assert len(waiting) == WAITING
    old.stop()
    new = clusters("new", BIN, MAJOR)
    upgrade = ["-b", bin, "-B", BIN, "-d", old.data, "-D", new.data, "-U", "postgres", "-s", new.folder, f"--{how}"]
    for options in (["--check"], []):
        done = new._run("pg_upgrade", *upgrade, *options, cwd=new.folder, check=False)
        logs = [file.read_text()[-3000:] for file in new.data.glob("pg_upgrade_output.d/*/log/pg_upgrade_dump_*.log")]
        assert done.returncode == 0, "\n".join([done.stdout, *logs])
    new.start()
    with new.connect("site") as judge, new.connect("site", user="site_owner") as owner:
        state = lambda: judge.execute("SELECT state FROM webhook.worker").fetchone()[0]
        wait_until(lambda: state() == "unarmed", lambda: f"the worker: {state()}")
        wait_until(lambda: new.log_lines("nothing is sent before public.webhook_arm"), "the log to say so")
        told = owner.execute("SELECT webhook, severity, problem FROM webhook_check() WHERE severity = 'error' ORDER BY 1").fetchall()
        reason = "unarmed: the database is a copy of the one that the webhook was made in"
        assert told == [("hook", "error", reason), ("plain", "error", reason)]
        assert owner.execute("SELECT DISTINCT health FROM webhook.webhooks").fetchall() == [("unarmed",)]
        owner.execute("SELECT webhook_resume('hook'); INSERT INTO app.plain VALUES (1)")
        owner.execute("INSERT INTO app.items VALUES (%s, NULL)", [WAITING + 1])
        owner.execute("UPDATE app.items SET note = 'y' WHERE id = %s", [WAITING + 1])
        nothing_is_sent(judge, receiver)
        assert judge.execute("SELECT webhook_arm(keep => true)").fetchone() == (True,)
        assert anchors_without_dependency(judge) == 0
        receiver.wait(1 + WAITING + 1, "/hook", timeout=120)
        receiver.wait(1, "/plain")
        arrived = [request.id for request in receiver.got("/hook")[1:]]
        assert len(arrived) == WAITING + 1 and waiting < set(arrived), "each once, under its id"
        assert all(b'"shaped"' in request.body for request in receiver.got("/hook"))
        assert owner.execute("SELECT * FROM webhook_check()").fetchall() == []
        assert owner.execute("SELECT DISTINCT health FROM webhook.webhooks").fetchall() == [("healthy",)]
        # Triggers and roles count as they are: what is made of them anew is somebody else's.
        owner.execute("INSERT INTO app.items VALUES (%s, 'z')", [WAITING + 2])
        receiver.wait(1 + WAITING + 2, "/hook")
        [dead] = owner.execute("SELECT webhook_replay(id) FROM webhook.dead_letters").fetchall()
        receiver.wait(1 + WAITING + 3, "/hook")
        # Signed as before, with the same headers.
        for request in receiver.got():
            verify_python(secrets[request.path], request)
        assert {request.headers.get("x-token") for request in receiver.got("/hook")} == {"t"}
        with new.connect("copy") as copy:
            wait_for_state(copy, "unarmed")
        copy_database(new, "copy", "later")
        with new.connect("later") as later:
            assert later.execute("SELECT webhook_arm()").fetchone() == (True,)
            assert later.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (0,), "the copied one has captured that"
        with new.connect("copy") as copy:
            assert copy.execute("SELECT webhook_arm()").fetchone() == (True,)
            receiver.wait(2, "/plain")
            assert records(receiver, "/plain") == [1, 7]
            assert copy.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (1,)
        judge.execute("DROP EXTENSION pg_webhook")
        assert judge.execute("SELECT count(*) FROM pg_type WHERE typname ~ '^(owner|transform_of)_'").fetchone() == (0,)


@since(FIRST + 1)
@pytest.mark.parametrize("older", OLDER or [FIRST])
def test_pg_upgrade_keeps_the_order_of_what_is_held(clusters, receiver, older):
    bin = server_of(older)
    old = clusters("old", bin, older).start()
    with old.connect() as admin:
        admin.execute("CREATE ROLE site_owner LOGIN")
    db = Database(old, "site")
    db.run("GRANT CREATE ON DATABASE site TO site_owner; SELECT webhook_grant('site_owner', 'member')")
    receiver.on("/", reply(500), reply(200))
    with old.connect("site", user="site_owner") as owner:
        owner.execute("CREATE SCHEMA app; CREATE TABLE app.items (id int PRIMARY KEY)")
        owner.execute(
            "SELECT webhook_create('hook', %s, 'app.items', '{INSERT}', ordering => 'webhook', max_retries => 0, batch_size => 2)",
            [receiver.url("/")],
        )
        owner.execute("INSERT INTO app.items VALUES (1)")
        db.wait_for_status(1, "dead")
        owner.execute("INSERT INTO app.items SELECT generate_series(2, 6)")
        db.wait_for_status(5, "held")
    db.close()
    old.stop()
    new = clusters("new", BIN, MAJOR)
    upgrade = ["-b", bin, "-B", BIN, "-d", old.data, "-D", new.data, "-U", "postgres", "-s", new.folder, "--link"]
    done = new._run("pg_upgrade", *upgrade, cwd=new.folder, check=False)
    assert done.returncode == 0, done.stdout
    new.start()
    with new.connect("site") as judge, new.connect("site", user="site_owner") as owner:
        assert judge.execute("SELECT webhook_arm(keep => true)").fetchone() == (True,)
        assert owner.execute("SELECT health, held FROM webhook.webhooks").fetchone() == ("failing", 5)
        owner.execute("INSERT INTO app.items VALUES (7)")
        owner.execute("SELECT webhook_replay(id) FROM webhook.dead_letters")
        arrived = lambda: [event["record"]["id"] for request in receiver.got() for event in json.loads(request.body)]
        wait_until(lambda: arrived() == [1, 1, 2, 3, 4, 5, 6, 7], arrived)
        wait_until(lambda: judge.execute("SELECT count(*) FROM webhook.place").fetchone() == (0,), "no places to be left")
