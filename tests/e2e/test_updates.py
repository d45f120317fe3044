"""An update of the extension: a new library, the restart that loads it, and ALTER EXTENSION UPDATE.

The next version is made of this one: see tests/updates. Whoever has webhooks is an ordinary role; a superuser updates."""

import itertools
import json
import re
import shutil
import subprocess
import threading
import time

import psycopg
import pytest

from harness import Cluster, wait_until
from harness.cluster import Database
from harness.dumps import events, text_of
from harness.pgoutput import Slot
from harness.receiver import after, reply
from harness.session import Session
from harness.verify import verify_python
from harness.versions import ROOT, Tree, description, next_version

# The second version is compiled when the first of these asks for it.
pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("updates"), pytest.mark.early]

UPDATE = "ALTER EXTENSION pg_webhook UPDATE"
NOT_YET = psycopg.errors.ObjectNotInPrerequisiteState
RELEASED = ROOT / "sql" / "released"

_numbers = itertools.count(1)


class Site:
    """A server with the version of this tree, and the next one to come."""

    def __init__(self, **settings):
        self.tree = Tree(f"versions{next(_numbers)}")
        self.old = self.tree.version()
        self.server = Cluster("versions", bin=self.tree.bin, jit="off", **settings).start()

    def bring(self):
        """The files of the next version are there, and nobody has loaded them."""
        self.tree.install(next_version())
        self.new = self.tree.version()
        assert self.new != self.old

    def restart(self):
        self.server.stop()
        self.server.start()

    def version(self, name="site"):
        with self.server.connect(name) as admin:
            return admin.execute("SELECT extversion FROM pg_extension WHERE extname = 'pg_webhook'").fetchone()[0]

    def update(self, name="site"):
        with self.server.connect(name) as admin:
            admin.execute(UPDATE)

    def remove(self):
        self.server.destroy()
        self.tree.remove()


@pytest.fixture
def make_site():
    made = []

    def make(**settings):
        made.append(Site(**settings))
        return made[-1]

    yield make
    for site in made:
        site.remove()


@pytest.fixture
def make_database():
    made = []

    def make(site, name="site"):
        made.append(Database(site.server, name))
        return made[-1]

    yield make
    for database in made:
        database.close()


def reopen(db):
    """After a restart: the superuser, and whoever it is in the hands of."""
    db.judge.connection = db.cluster.connect(db.name)
    db.connection = db.connect() if db.owner else db.judge.connection
    db.wait_for_worker()


# --- what an update comes to ---

def peopled(server, name, version=None):
    """A database with the extension, and roles with levels; and what somebody wants everybody to have of all that is made."""
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    session = server.connect(name)
    for role in ("viewer", "monitor", "member", "admin", "emitter", "stranger"):
        session.execute(
            f"DO $$BEGIN IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role} LOGIN; END IF; END$$"
        )
    session.execute("""
        CREATE SCHEMA hooks; GRANT USAGE ON SCHEMA hooks TO PUBLIC;
        ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO stranger;
        ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO stranger;
        ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO stranger""")
    session.execute("CREATE EXTENSION pg_webhook SCHEMA hooks" + (f" VERSION '{version}'" if version else ""))
    for role in ("viewer", "monitor", "member", "admin"):
        session.execute(f"SELECT hooks.webhook_grant('{role}', '{role}')")
    # A dump has them in the order of their ids.
    session.execute("UPDATE webhook.level SET id = md5(name)::uuid")
    session.execute("SELECT hooks.webhook_create('hears', 'http://127.0.0.1:9/', events => '{a.*}', emitters => '{emitter}')")
    return session


def dumped(server, name):
    """A dump, without what each database has for itself."""
    class There:
        cluster = server
        rows = staticmethod(lambda statement: server.connect(name).execute(statement).fetchall())

    There.name = name
    made_up = r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.?\d*\+00|(?:owner|transform_of)_[0-9a-z_]+"
    return [re.sub(made_up, "*", line) for line in text_of(There)]


def comes_to_the_same(server, old, new):
    """A database with the schema of version `old`, when it is updated, and one that begins with the library's."""
    first = f"v{next(_numbers)}"
    second = f"{first}_fresh"
    updated, fresh = peopled(server, first, old), peopled(server, second)
    before = description(updated)
    assert ("extension", "pg_webhook", f"{old} postgres hooks") in before
    assert before != description(fresh)
    updated.execute(UPDATE)
    found, wanted = description(updated), description(fresh)
    assert ("extension", "pg_webhook", f"{new} postgres hooks") in wanted
    assert found == wanted, (sorted(map(str, found - wanted)), sorted(map(str, wanted - found)))
    assert dumped(server, first) == dumped(server, second)
    return first


def test_an_update_comes_to_what_an_installation_makes(make_site):
    """Tables, views, functions, comments, privileges, whatever ALTER DEFAULT PRIVILEGES gives to whom, and a dump."""
    site = make_site()
    shutil.copy(site.tree.extension / f"pg_webhook--{site.old}.sql", site.server.folder)
    site.bring()
    # as it was made before
    shutil.copy(site.server.folder / f"pg_webhook--{site.old}.sql", site.tree.extension)
    site.restart()
    name = comes_to_the_same(site.server, site.old, site.new)
    # The function that is new is for those whose level it is, and what the others had they have.
    may = "SELECT has_function_privilege(%s, 'hooks.webhook_pause(text, text)', 'EXECUTE')"
    with site.server.connect(name) as admin:
        said = {role: admin.execute(may, [role]).fetchone()[0] for role in ("viewer", "monitor", "member", "admin", "emitter", "stranger")}
    assert said == {"viewer": False, "monitor": False, "member": True, "admin": True, "emitter": False, "stranger": False}


def test_each_released_version_is_updated_to_this_one(receiver):
    """What it installs is what it was, the library goes on with the last of them, and its update comes to what an installation makes."""
    versions = [re.fullmatch(r"pg_webhook--(.*)\.sql", script.name)[1] for script in RELEASED.glob("pg_webhook--*.sql")]
    versions.sort(key=lambda version: [int(number) for number in version.split(".")])
    tree = Tree("released")
    own = tree.version()
    before = [version for version in versions if version != own]
    for version in before:
        shutil.copy(RELEASED / f"pg_webhook--{version}.sql", tree.extension)
    server = Cluster("released", bin=tree.bin, jit="off")
    try:
        server.start()
        script = tree.extension / f"pg_webhook--{own}.sql"
        subprocess.run([ROOT / "tests/packaging/released", "same", RELEASED, own, script], check=True)
        for version in before[-1:]:
            db = Database(server, "site", extension=False)
            db.run(f"CREATE EXTENSION pg_webhook VERSION '{version}'")
            db.wait_for_worker()
            goes_on(db, receiver, version, own)
            db.close()
        for version in before:
            comes_to_the_same(server, version, own)
        # of the version that it is already, there is no update
        with peopled(server, "own", own) as there:
            made = description(there)
            there.execute(UPDATE)
            assert description(there) == made
    finally:
        server.destroy()
        tree.remove()


# --- what an update leaves as it is ---

SETUP = """
    CREATE SCHEMA app;
    CREATE TABLE app.dated (id int PRIMARY KEY, was text, day date, late interval);
    CREATE TABLE app.parted (id int, kind text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (100);
    CREATE TABLE app.always (id int PRIMARY KEY);
    CREATE FUNCTION app.shape(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p || '{"shaped": true}' $$;
"""
CHANGES = """
    INSERT INTO app.dated (id, title, day, late) VALUES (101, 'x', '2026-03-02', '1 day'), (102, 'x', '2026-02-03', '1 day'), (103, 'x', NULL, NULL);
    UPDATE app.dated SET title = 'y' WHERE id = 102;
    UPDATE app.dated SET day = day WHERE id = 101;
    UPDATE app.dated SET title = 'z' WHERE id = 101;
    INSERT INTO app.parted VALUES (1, 'a'), (150, 'b');
    DELETE FROM app.parted WHERE id = 1;
    SET LOCAL session_replication_role = replica;
    INSERT INTO app.always VALUES (7);
    INSERT INTO app.parted VALUES (2, 'c');
"""
TABLES = ["webhook", "owner", "secret", "watch", "watch_trigger", "watch_payload", "emitter_role", "level", "pending", "closed", "event", "attempt"]
OURS = """
    SELECT c.oid::regclass::text, t.tgname, t.tgenabled, t.tgqual::text, t.tgattr::text, t.tgargs
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid WHERE starts_with(t.tgname, '_webhook_') ORDER BY 1, 2
"""


def furnished(db, receiver):
    """Webhooks of each kind with what they have delivered, what waits and what is dead. Returns the secrets of two."""
    db.judge.run("CREATE ROLE replicator LOGIN")
    db.run(SETUP)
    db.run("SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'")
    secret = db.value(
        "SELECT secret FROM webhook_create('dated', %s, 'app.dated', '{INSERT,UPDATE}', columns => '{was}', payload_columns => '{id,was}',"
        " condition => $$NEW.day > '03/02/2026' AND NEW.late = '1 0:00:00'$$, headers => '{\"X-Token\": \"t\"}', transform => 'app.shape(jsonb)')",
        receiver.url("/dated"),
    )
    db.run("RESET DateStyle; RESET IntervalStyle")
    # What was named then is meant now.
    db.run("ALTER TABLE app.dated RENAME was TO title; ALTER TABLE app.parted RENAME TO parts; ALTER TABLE app.parts RENAME TO parted")
    other = db.create("parted", receiver.url("/parted"), table_name="app.parted", max_retries=0)["secret"]
    db.run("CREATE TABLE app.parted_2 PARTITION OF app.parted FOR VALUES FROM (100) TO (1000)")
    db.create("always", receiver.url("/always"), table_name="app.always", events="{INSERT}")
    [name] = db.rows("SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.always'::regclass AND starts_with(tgname, '_webhook_')")
    db.run(f'ALTER TABLE app.always ENABLE ALWAYS TRIGGER "{name[0]}"')
    receiver.on("/parted", reply(500), reply(200))
    db.run("INSERT INTO app.parted VALUES (50, 'dead')")
    db.wait_for_status(1, "dead")
    db.run("INSERT INTO app.dated VALUES (1, 'x', '2026-03-02', '1 day')")
    db.wait_for_status(1, "delivered")
    db.run("SELECT webhook_pause('parted')")
    db.run("INSERT INTO app.parted SELECT n, 'waits' FROM generate_series(200, 299) AS n")
    wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending WHERE stage = 0") == 100, "the backlog")
    return {"/dated": secret, "/parted": other}


def kept(db):
    """Rows of our tables, without the columns that the next version has more."""
    return {
        table: db.judge.rows(f"SELECT to_jsonb(t) - 'note' FROM webhook.{table} AS t ORDER BY 1") for table in TABLES
    }


def test_an_update_keeps_what_there_is_and_what_it_means(make_site, make_database, receiver):
    """Webhooks, secrets, what waits, dead letters and the log; conditions that were typed under another DateStyle, columns that are
    called otherwise by now, partitions, and triggers that fire always."""
    site = make_site()
    db = make_database(site).hand_over()
    secrets = furnished(db, receiver)
    meant, triggers, before = events_of(db), db.judge.rows(OURS), kept(db)
    assert len(meant) == 6, meant
    db.close()
    site.bring()
    site.restart()
    site.update()
    reopen(db)
    assert site.version() == site.new
    assert db.judge.rows(OURS) == triggers
    assert kept(db) == before
    assert events_of(db) == meant
    assert db.rows("SELECT severity, problem FROM webhook_check() WHERE severity = 'error'") == []
    # What waited goes out as it would have, and what is dead can be sent again.
    receiver.on("/parted", reply(200))
    db.run("SELECT webhook_resume('parted')")
    [(dead,)] = db.rows("SELECT webhook_replay(id) FROM webhook.dead_letters")
    db.run("INSERT INTO app.dated (id, title, day, late) VALUES (2, 'x', '2026-03-02', '1 day')")
    receiver.wait(1 + 100 + 1, "/parted")
    receiver.wait(2, "/dated")
    assert len({request.id for request in receiver.got("/parted")}) == 101
    for request in receiver.got():
        verify_python(secrets[request.path], request)
    assert {request.headers["x-token"] for request in receiver.got("/dated")} == {"t"}
    # What is new is there.
    db.settled()
    assert db.value("SELECT count(*) FROM webhook.attempts WHERE note = 'sent later'") >= 102
    db.run("SELECT webhook_pause('parted', reason => 'a reason')")
    assert site.server.log_lines("paused because a reason")


def events_of(db):
    """What changes become, by whoever may make them all."""
    superuser = Session(db.judge.connection)
    superuser.cluster, superuser.name = db.cluster, db.name
    return events(superuser, CHANGES)


# --- the library first ---

def goes_on(db, receiver, old, new):
    """A library of version `new` captures, sends, tries again and logs with the schema of version `old`, and says that there is more."""
    db.run("CREATE TABLE earlier (id int PRIMARY KEY, done bool)")
    db.create("earlier", receiver.url("/earlier"), table_name="earlier", condition="NEW.done IS NULL", events="{INSERT,UPDATE}")
    receiver.on("/earlier", reply(500), reply(200))
    db.run("INSERT INTO earlier VALUES (1), (2)")
    db.run("UPDATE earlier SET id = 3 WHERE id = 1")
    db.wait_for_status(3, "delivered", webhook="earlier")
    assert len(receiver.got("/earlier")) == 4 and len({request.id for request in receiver.got("/earlier")}) == 3
    assert db.rows("SELECT DISTINCT health FROM webhook.webhooks") == [("healthy",)]
    said = f"the extension has version {old}, and the library {new}, which works with both"
    assert db.rows("SELECT severity, problem, hint FROM webhook_check()") == [("warning", said, "ALTER EXTENSION pg_webhook UPDATE brings what is new.")]
    told = db.cluster.log_lines(f"the extension has version {old}, the library {new}, which works with both")
    assert told and all(line.endswith("ALTER EXTENSION pg_webhook UPDATE") for line in told)


def test_a_library_goes_on_with_the_schema_of_the_version_before(make_site, make_database, receiver):
    """Capture and delivery, as long as nobody updates; what it cannot do says what to run."""
    site = make_site()
    db = make_database(site).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "delivered")
    db.close()
    site.bring()
    site.restart()
    reopen(db)
    assert site.version() == site.old
    goes_on(db, receiver, site.old, site.new)
    # One that has an argument more is called as it was, one that is gone says where it stands.
    db.run("SELECT webhook_pause('hook')")
    db.run("SELECT webhook_resume('hook')")
    with pytest.raises(psycopg.errors.UndefinedFunction, match="webhook_sign is not in version") as refused:
        db.run("SELECT webhook_sign('{}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', id => 'evt_1')")
    assert refused.value.diag.message_hint == UPDATE
    # Nothing of that was an obstacle, and the update takes the worker along.
    worker = db.wait_for_worker()
    site.update()
    assert db.wait_for_worker(other_than=worker)
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(2, "delivered", webhook="hook")
    assert [row[0] for row in db.rows("SELECT note FROM webhook.attempts ORDER BY started_at")] == [None] * 5 + ["sent later"]
    assert [row[0] for row in db.judge.rows("SELECT note FROM webhook.event ORDER BY id")] == [None] * 4 + ["captured later"]
    assert db.rows("SELECT * FROM webhook_check()") == []
    assert not site.server.log_lines("trying again")
    assert len(receiver.got("/")) == 2


# --- the script first ---

def test_a_script_before_the_restart_is_refused_and_changes_nothing(make_site, make_database, receiver):
    site = make_site()
    db = make_database(site).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    before, worker = description(db.judge.connection), db.wait_for_worker()
    site.bring()
    with pytest.raises(NOT_YET, match=f"runs version {site.old} of the library of pg_webhook, which does not know version {site.new}") as refused:
        db.judge.run(UPDATE)
    assert refused.value.diag.message_hint.startswith("Restart the server")
    assert description(db.judge.connection) == before
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "delivered")
    assert db.worker() == worker and len(receiver.got()) == 1
    db.close()
    site.restart()
    site.update()
    reopen(db)
    assert site.version() == site.new


# --- beside others ---

def test_an_update_waits_for_writers_and_fails_none(make_site, make_database, receiver):
    """One that has captured and goes on to what it has not touched yet; and others that come meanwhile."""
    site = make_site()
    db = make_database(site).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE others (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.create("other", receiver.url("/"), table_name="others")
    db.close()
    site.bring()
    site.restart()
    reopen(db)
    failed = []

    def update():
        try:
            site.update()
        except psycopg.Error as error:
            failed.append(error)

    with db.connect(autocommit=False) as first, db.connect() as second:
        for session in (first, second):
            session.execute("SET statement_timeout = '30s'")
        first.commit()
        first.execute("INSERT INTO items VALUES (1)")
        updating = threading.Thread(target=update)
        updating.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE query = %s AND wait_event_type = 'Lock'"
        wait_until(lambda: db.judge.value(waits, UPDATE), "the update to wait")
        for number in range(2, 12):
            second.execute("INSERT INTO items VALUES (%s)", [number])
        # It looks up a trigger for the first time, behind what the update holds, which waits for it.
        first.execute("INSERT INTO others VALUES (1)")
        assert updating.is_alive() and site.version() == site.old
        first.commit()
        updating.join(60)
    assert not failed and site.version() == site.new
    db.wait_for_status(12, "delivered")


def test_an_update_that_others_do_not_let_pass_says_who_they_are(make_site, make_database, receiver):
    """One that has looked at a view, and one that has called a function. Meanwhile events are captured and sent."""
    site = make_site()
    db = make_database(site).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.close()
    site.bring()
    site.restart()
    reopen(db)
    with db.connect(autocommit=False) as reader, db.connect(autocommit=False) as caller, site.server.connect("site") as admin:
        reader.execute("SELECT count(*) FROM webhook.deliveries")
        caller.execute("SELECT webhook_update('hook', description => 'x')")
        before = description(admin)
        over = threading.Event()

        def insert():
            for number in itertools.count():
                if over.is_set():
                    return
                db.run("INSERT INTO items VALUES (%s)", number)
                time.sleep(1)

        inserting = threading.Thread(target=insert)
        inserting.start()
        pids = ", ".join(sorted(str(session.info.backend_pid) for session in (reader, caller)))
        try:
            with pytest.raises(psycopg.errors.LockNotAvailable, match=f"do not end: {pids}\n") as refused:
                admin.execute(UPDATE)
        finally:
            over.set()
            inserting.join(60)
        assert len(receiver.got()) >= 10
        assert "Nothing has changed" in refused.value.diag.message_hint
        assert description(admin) == before
        reader.rollback()
        caller.rollback()
        admin.execute(UPDATE)
    db.settled()
    assert len(receiver.got()) == db.value("SELECT count(*) FROM items")


def test_autovacuum_lets_an_update_pass(make_site, make_database, receiver):
    """One that would take minutes, as it does where a log is large."""
    site = make_site(autovacuum_naptime="1s")
    db = make_database(site).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items SELECT generate_series(1, 3000)")
    db.wait_for_status(3000)
    db.judge.run("""ALTER TABLE webhook.event_0 SET (
        autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0,
        autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)""")
    db.close()
    site.bring()
    site.restart()
    reopen(db)
    # It comes again for what has been inserted since the last one.
    db.run("INSERT INTO items SELECT generate_series(3001, 6000)")
    vacuums = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query ~ 'VACUUM.* webhook.event_0'"
    wait_until(lambda: db.judge.value(vacuums) == 1, "autovacuum to be there")
    time.sleep(1)
    assert db.judge.value(vacuums) == 1, "it takes its time"
    site.update()
    assert site.version() == site.new
    db.wait_for_status(6000)


def test_what_an_update_makes_belongs_to_the_owner_of_the_extension(make_site, make_database):
    """Otherwise it would fail when the superuser who has updated is none any more, who could not be dropped either."""
    site = make_site()
    make_database(site).close()
    site.bring()
    site.restart()
    with site.server.connect("site") as admin:
        admin.execute("CREATE ROLE updater LOGIN SUPERUSER")
        with site.server.connect("site", user="updater") as updater:
            updater.execute(UPDATE)
        admin.execute("DROP ROLE updater")
    assert site.version() == site.new


# --- under load ---

WAITING = 100_000


def write(server, number, over, failures):
    """Rows of its own, some of which are rolled back, until it is over, whatever becomes of the server."""
    ids = itertools.count(number, 4)
    session = None
    while not over.is_set():
        try:
            session = session or server.connect("site", user="site_owner", autocommit=False)
            session.execute(
                "INSERT INTO live SELECT n, md5(n::text) FROM generate_series(%s::int, %s::int, 4) AS n", [(first := next(ids)), first + 4 * (first % 5)]
            )
            [next(ids) for _ in range(first % 5)]
            session.rollback() if first % 7 == 0 else session.commit()
            time.sleep(0.005)
        except psycopg.errors.DatabaseError as error:
            # The server stops and starts; nothing else may happen.
            if not isinstance(error, psycopg.OperationalError) or isinstance(error, (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable)):
                failures.append(error)
            session = None
            time.sleep(0.05)


def test_nothing_is_lost_or_changed_by_an_update_under_load(make_site, make_database, receiver):
    """100,000 events that wait, requests under way, and writers. What has been committed is what a logical slot says and what is in the
    tables; a request that a stop has cut off may come twice, and is the same one then."""
    site = make_site(wal_level="logical")
    db = make_database(site).hand_over()
    db.run("CREATE TABLE bulk (id int PRIMARY KEY, body text); CREATE TABLE live (id int PRIMARY KEY, body text)")
    db.judge.run("CREATE PUBLICATION live FOR TABLE live")
    slot = Slot(db.judge, "committed", "live")
    db.create("bulk", receiver.url("/bulk"), table_name="bulk", batch_size=500)
    db.create("live", receiver.url("/live"), table_name="live", max_concurrency=20)
    receiver.on("/live", after(0.1, reply(200)))
    db.run("SELECT webhook_pause('bulk')")
    db.run("INSERT INTO bulk SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, %s) AS n", WAITING)
    wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending") >= WAITING // 2, "the backlog")
    over, failures = threading.Event(), []
    writers = [threading.Thread(target=write, args=(site.server, number, over, failures)) for number in range(1, 5)]
    try:
        for writer in writers:
            writer.start()
        receiver.wait(50, "/live")
        db.close()
        site.bring()
        wait_until(lambda: receiver.under_way, "a request that the stop may cut off")
        site.restart()
        seen = len(receiver.got("/live"))
        reopen(db)
        # with the schema of before
        receiver.wait(seen + 50, "/live")
        db.run("SELECT webhook_resume('bulk')")
        receiver.wait(5, "/bulk")
        site.update()
        assert len(receiver.got("/bulk")) < WAITING // 500, "the update came when there was nothing to do"
        assert site.version() == site.new
        receiver.wait(len(receiver.got("/live")) + 50, "/live")
    finally:
        over.set()
        for writer in writers:
            writer.join(60)
    assert not failures
    # They have written more than it takes so slowly.
    receiver.on("/live", reply(200))
    db.settled(timeout=300)
    committed = {change.key for change in slot.read()}
    slot.judge.run("SELECT pg_drop_replication_slot('committed')")
    rows = {table: dict(db.rows(f"SELECT id, body FROM {table}")) for table in ("bulk", "live")}
    assert set(rows["live"]) == committed and len(rows["bulk"]) == WAITING
    bodies = {"bulk": [], "live": []}
    for request in receiver.got():
        body = json.loads(request.body)
        bodies[request.path[1:]] += body if isinstance(body, list) else [body]
    for table, wanted in rows.items():
        arrived = {}
        for body in bodies[table]:
            event = (body["id"], body["record"]["id"], body["record"]["body"])
            assert arrived.setdefault(event[1], event) == event, "the same row, and another event"
        assert {number: event[2] for number, event in arrived.items()} == wanted
