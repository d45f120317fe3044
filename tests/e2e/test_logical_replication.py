"""Publications that carry our tables, subscribers with and without the extension, and what logical decoding sees."""

import json
import re
import subprocess

import pytest

from harness import Cluster, wait_until
from harness.cluster import Database
from harness.major import MAJOR
from harness.places import BIN
from harness.receiver import reply
from harness.ring import SLOTS, turn

MARK = "b0dy-of-an-event"


@pytest.fixture(scope="module")
def server():
    """A server that publishes and subscribes to itself; what fails is tried again at once."""
    made = Cluster(
        "logical", jit="off", wal_level="logical", max_replication_slots="40", max_wal_senders="40",
        max_logical_replication_workers="20", max_sync_workers_per_subscription="6",
        wal_retrieve_retry_interval="'100ms'", pg_webhook__log_retention="60",
    ).start()
    yield made
    made.destroy()


@pytest.fixture
def databases(server):
    """Makes databases that a test leaves as it likes."""
    made = []

    def make(name, extension=True, handed_over=False):
        made.append(Database(server, name, extension))
        if handed_over:
            made[-1].hand_over()
        made[-1].run("CREATE TABLE items (id int PRIMARY KEY, note text)")
        return made[-1]

    yield make
    for database in reversed(made):
        for (name,) in database.judge.rows(SUBSCRIPTIONS):
            database.judge.run(f"ALTER SUBSCRIPTION {name} DISABLE")
            database.judge.run(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
            database.judge.run(f"DROP SUBSCRIPTION {name}")
    for database in made:
        drop_slots(database.judge)
        database.drop()


SUBSCRIPTIONS = """
    SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()"""


def drop_slots(database):
    mine = "FROM pg_replication_slots WHERE database = current_database()"

    def gone():
        database.run(f"SELECT pg_terminate_backend(active_pid) {mine} AND active")
        database.run(f"SELECT pg_drop_replication_slot(slot_name) {mine} AND NOT active")
        return database.value(f"SELECT count(*) = 0 {mine}")

    wait_until(gone, "the slots to go")


def subscribe(subscriber, publisher):
    """The slot is made beforehand: in the transaction of the subscription it would wait for itself."""
    publisher.judge.run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", subscriber.name)
    subscriber.judge.run(
        f"CREATE SUBSCRIPTION {subscriber.name} CONNECTION '{publisher.cluster.dsn(publisher.name)}'"
        f" PUBLICATION everything WITH (create_slot = false, slot_name = '{subscriber.name}')"
    )


def wait_for_sync(subscriber):
    states = "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"
    wait_until(lambda: subscriber.value(states), lambda: f"every table to be ready: {subscriber.cluster.log_text()[-3000:]}")


def wait_for_rows(subscriber, count):
    wait_until(lambda: subscriber.value("SELECT count(*) FROM items") == count, lambda: f"{count} rows: {subscriber.cluster.log_text()[-3000:]}")


def wait_for_no_lag(publisher, subscriber):
    """What has been written by now has been taken."""
    now = publisher.value("SELECT pg_current_wal_insert_lsn()")
    taken = "SELECT confirmed_flush_lsn >= %s FROM pg_replication_slots WHERE slot_name = %s"
    wait_until(lambda: publisher.value(taken, now, subscriber.name), "the subscriber to be where the publisher is")


# What is private and does not change by itself.
KEPT = ["webhook", "watch", "secret", "health", "pending", "closed", "installation"]


def kept(db):
    return {name: sorted(db.rows(f"SELECT x::text FROM webhook.{name} AS x")) for name in KEPT}


# Records which processes change them. Of some the subscriber's own worker does.
TOUCHED = """
    CREATE TABLE touched (by text, what text);
    CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.touched
        SELECT a.backend_type, TG_TABLE_NAME || ' ' || TG_OP FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_backend_pid();
        RETURN NULL;
    END $$;
    DO $$
    DECLARE
        t regclass;
    BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'webhook'::regnamespace
        LOOP
            EXECUTE format('CREATE TRIGGER touched AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION touched()', t);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER touched', t);
            EXECUTE format('CREATE TRIGGER emptied AFTER TRUNCATE ON %s EXECUTE FUNCTION touched()', t);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER emptied', t);
        END LOOP;
    END $$"""


# And how often the ring turns, which takes two seconds each time.
PUBLICATIONS = {
    "all-tables": ("FOR ALL TABLES", 2 * SLOTS),
    "schemas": ("FOR TABLES IN SCHEMA public, webhook", 2),
    "root": ("FOR ALL TABLES WITH (publish_via_partition_root = true)", 2),
}


@pytest.mark.parametrize("kind", PUBLICATIONS)
def test_a_subscriber_keeps_what_it_has(databases, receiver, kind):
    """Its webhook has the number of the publisher's, and a dead letter and a failing endpoint of its own."""
    (what, turns), name = PUBLICATIONS[kind], kind.replace("-", "_")
    publisher, subscriber = (databases(f"{which}_{name}", handed_over=True) for which in ("pub", "sub"))
    receiver.on("/own", reply(500))
    subscriber.create("own", receiver.url("/own"), table_name="items", max_retries=0)
    subscriber.run("INSERT INTO items VALUES (-1)")
    subscriber.wait_for_status(1, "dead")
    subscriber.run("DELETE FROM items WHERE id = -1")
    subscriber.wait_for_status(2, "dead")
    wait_until(lambda: subscriber.judge.value("SELECT fail_count FROM webhook.health") == 2, "the last failure to be written")
    subscriber.judge.run(TOUCHED)
    subscriber.run("SELECT webhook_pause('own')")

    receiver.on("/hook", reply(500), reply(500), reply(500), reply(200))
    publisher.create("hook", receiver.url("/hook"), table_name="items", retry_backoff_seconds=1)
    publisher.create("dead", receiver.url("/dead"), table_name="items", max_retries=0)
    receiver.on("/dead", reply(500))
    publisher.run("INSERT INTO items SELECT generate_series(1, 20)")
    publisher.judge.run(f"CREATE PUBLICATION everything {what}")
    before = kept(subscriber.judge)
    subscribe(subscriber, publisher)
    wait_for_sync(subscriber)
    last = 20

    def write():
        nonlocal last
        publisher.run("INSERT INTO items SELECT generate_series(%s::int, %s::int)", last + 1, last + 20)
        last += 20

    for _ in range(turns):
        turn(publisher.judge.connection, meanwhile=write)
    publisher.job("webhook_replay_all('dead')")
    publisher.run("SELECT webhook_rotate_secret('hook'), webhook_pause('dead')")
    publisher.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status IN ('pending', 'retrying')")
    publisher.run("SELECT webhook_delete('dead')")
    write()
    wait_for_rows(subscriber, last)
    wait_for_no_lag(publisher, subscriber)
    assert kept(subscriber.judge) == before
    errors = publisher.cluster.log_lines("ERROR|FATAL|PANIC")
    assert not [line for line in errors if subscriber.name in line or publisher.name in line]
    assert not publisher.cluster.log_lines('conflict detected on relation "webhook\\.')
    by = dict(subscriber.judge.rows("SELECT by, array_agg(DISTINCT what) FROM touched GROUP BY by"))
    assert not [who for who in by if "replication" in who], by
    # It sends what is its own.
    subscriber.run("SELECT webhook_resume('own')")
    subscriber.run("INSERT INTO items VALUES (-2)")
    wait_until(lambda: len(receiver.got("/own")) == 3, "its own event")
    assert json.loads(receiver.got("/own")[2].body)["record"]["id"] == -2


# The servers that have the option.
RUN_AS_OWNER = ["false", "true"] if MAJOR >= 16 else [None]


@pytest.mark.parametrize("as_owner", RUN_AS_OWNER)
@pytest.mark.parametrize("rows", ["copied", "not copied"])
def test_a_subscription_of_an_ordinary_role_goes_on(databases, receiver, rows, as_owner):
    """Which may write to its own tables, and to none of ours: rows of these are not even looked at."""
    name = f"{rows.replace(' ', '_')}_{as_owner or 'always'}"
    publisher, subscriber = databases(f"pub_role_{name}"), databases(f"sub_role_{name}")
    role, option = f"app_{name}", f", password_required = false, run_as_owner = {as_owner}" if as_owner else ""
    more = " IN ROLE pg_create_subscription" if as_owner else " SUPERUSER"
    subscriber.run(f"CREATE ROLE {role} LOGIN{more}; ALTER TABLE items OWNER TO {role}")
    subscriber.run(f"GRANT CREATE ON DATABASE {subscriber.name} TO {role}; SELECT webhook_grant('{role}', 'member')")
    try:
        publisher.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
        publisher.run("CREATE PUBLICATION everything FOR ALL TABLES")
        publisher.run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", subscriber.name)
        subscriber.run(
            f"CREATE SUBSCRIPTION {subscriber.name} CONNECTION '{publisher.cluster.dsn(publisher.name)}' PUBLICATION everything"
            f" WITH (enabled = false, create_slot = false, copy_data = {rows == 'copied'}{option})"
        )
        subscriber.run(f"ALTER SUBSCRIPTION {subscriber.name} OWNER TO {role}; ALTER SUBSCRIPTION {subscriber.name} ENABLE")
        if not as_owner:
            # It has to be a superuser's first.
            subscriber.run(f"ALTER ROLE {role} NOSUPERUSER")
        wait_for_sync(subscriber)
        receiver.on("/", reply(500), reply(500), reply(200))
        publisher.run("INSERT INTO items SELECT generate_series(1, 3)")
        publisher.settled(timeout=60)
        publisher.run("SELECT webhook_pause('hook')")
        with publisher.cluster.connect(subscriber.name, user=role) as owner:
            wait_until(lambda: owner.execute("SELECT count(*) FROM items").fetchone() == (3,), lambda: publisher.cluster.log_text()[-3000:])
        wait_for_no_lag(publisher, subscriber)
        assert subscriber.value("SELECT count(*) FROM webhook.webhook") == 0
        # Also once it looks again at what there is.
        again = "REFRESH PUBLICATION" if rows == "copied" else "SET PUBLICATION everything WITH (refresh = true)"
        subscriber.run(f"ALTER SUBSCRIPTION {subscriber.name} {again}")
        ours = "SELECT count(*) FROM pg_subscription_rel AS r JOIN pg_class AS c ON c.oid = r.srrelid"
        assert subscriber.value(f"{ours} WHERE c.relnamespace = 'webhook'::regnamespace") == 0
        # As where it was made without the library, which is told to its owner.
        subscriber.run("INSERT INTO pg_subscription_rel SELECT oid, 'webhook.pending'::regclass, 'r' FROM pg_subscription WHERE subname = %s", subscriber.name)
        with publisher.cluster.connect(subscriber.name, user=role) as owner:
            [(severity, problem, hint)] = owner.execute("SELECT severity, problem, hint FROM webhook_check()").fetchall()
            assert (severity, problem) == ("error", f"subscription {subscriber.name} includes tables of pg_webhook")
            assert f"Role {role} may not write" in hint
            subscriber.run(re.search("ALTER SUBSCRIPTION .* PUBLICATION", hint).group())
            assert owner.execute("SELECT FROM webhook_check()").fetchall() == []
    finally:
        subscriber.run(f"ALTER SUBSCRIPTION {subscriber.name} OWNER TO postgres; REASSIGN OWNED BY {role} TO postgres")
        subscriber.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_subscriber_without_the_extension_goes_on_when_it_gets_it(databases, receiver):
    publisher, subscriber = databases("pub_late", extension=False), databases("sub_late", extension=False)
    publisher.run("CREATE PUBLICATION everything FOR ALL TABLES")
    subscribe(subscriber, publisher)
    publisher.run("INSERT INTO items VALUES (1)")
    wait_for_rows(subscriber, 1)

    told = []
    publisher.connection.add_notice_handler(lambda diagnostic: told.append((diagnostic.severity, diagnostic.message_primary)))
    since = len(publisher.cluster.log_text())
    publisher.run("CREATE EXTENSION pg_webhook")
    assert told == [("WARNING", "publications carry the tables of pg_webhook: everything")]
    [(webhook, severity, problem, hint)] = publisher.rows("SELECT * FROM webhook_check()")
    assert (webhook, severity) == (None, "warning") and "publication everything" in problem and "CREATE EXTENSION" in hint
    publisher.wait_for_worker()
    publisher.create("hook", receiver.url("/"), table_name="items")
    publisher.run("INSERT INTO items VALUES (2)")
    publisher.wait_for_status(1)
    wait_until(lambda: publisher.cluster.log_lines('relation "webhook\\.', since), "replication to stop")
    assert subscriber.value("SELECT count(*) FROM items") == 1

    subscriber.run("CREATE EXTENSION pg_webhook")
    wait_for_rows(subscriber, 2)
    subscriber.run(f"ALTER SUBSCRIPTION {subscriber.name} REFRESH PUBLICATION")
    wait_for_sync(subscriber)
    publisher.run("INSERT INTO items VALUES (3)")
    wait_for_rows(subscriber, 3)
    wait_for_no_lag(publisher, subscriber)
    assert subscriber.value("SELECT count(*) FROM webhook.webhook") == 0


def test_what_a_function_writes_for_a_replicated_row_is_its_own(databases, receiver):
    """A trigger of a user's, on a subscriber, that cancels and emits."""
    publisher, subscriber = databases("pub_fn"), databases("sub_fn")
    receiver.default(reply(500))
    subscriber.create("own", receiver.url("/"), events=["came.*"], max_retries=0)
    subscriber.run("SELECT webhook_emit('came.first', '{}')")
    subscriber.wait_for_status(1, "dead")
    subscriber.run("""
        CREATE FUNCTION came() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM public.webhook_cancel(id) FROM webhook.deliveries WHERE status = 'dead';
            PERFORM public.webhook_emit('came.row', pg_catalog.to_jsonb(NEW));
            RETURN NULL;
        END $$;
        CREATE TRIGGER came AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION came();
        ALTER TABLE items ENABLE REPLICA TRIGGER came""")
    publisher.run("CREATE PUBLICATION everything FOR TABLE items")
    publisher.run("INSERT INTO items VALUES (1)")
    subscribe(subscriber, publisher)
    wait_until(lambda: subscriber.statuses() == {"cancelled": 1, "dead": 1}, lambda: str(subscriber.statuses()))


def test_logical_decoding_sees_no_bodies(databases, receiver):
    """Nor answers, secrets and header values; by each of the ways in which an event moves."""
    db = databases("decoded")
    db.run("SELECT pg_create_logical_replication_slot('spy', 'test_decoding')")
    secret, header = f"secret {MARK}", {"X-Token": f"header {MARK}"}
    receiver.default(reply(500, f"answer {MARK}".encode()))
    receiver.on("/good", reply(200, f"answer {MARK}".encode()))
    common = {"table_name": "items", "secret": secret, "signature": "sha256", "headers": json.dumps(header)}
    db.create("hook", receiver.url("/good"), **common)
    db.create("retried", receiver.url("/bad"), retry_backoff_seconds=1, **common)
    db.create("dead", receiver.url("/dead"), max_retries=0, **common)
    db.create("paused", receiver.url("/paused"), **common)
    db.run("SELECT webhook_pause('paused')")
    # the second does not fit into a page
    for body in ("", " and " + "".join(f"{n:x}" for n in range(20_000))):
        db.run("INSERT INTO items VALUES (%s, %s)", len(body), MARK + body)
    db.wait_for_status(2, webhook="hook")
    db.wait_for_status(2, "dead")
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending WHERE attempts > 1") >= 1, "a second attempt")
    paused = "SELECT count(*) FROM webhook.pending AS p JOIN webhook.webhook AS w ON w.id = p.webhook WHERE w.name = 'paused'"
    wait_until(lambda: db.value(paused) == 2, "what is paused to be in the backlog")
    db.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status = 'pending' AND webhook = 'paused'")
    wait_until(lambda: db.value("SELECT bool_and(settled) FROM webhook.closed"), "what is cancelled to be put away")
    db.run("SELECT webhook_replay(id) FROM webhook.deliveries WHERE status = 'delivered'")
    assert db.job("webhook_replay_all('dead')") == 2
    assert db.job("webhook_replay_all('hook', status => 'delivered')") == 4
    assert db.job("webhook_replay_all('paused', status => 'cancelled')") == 2
    assert db.job("webhook_cancel_all('paused')") == 2
    path = f'$.** ? (@ like_regex "{MARK}")'
    assert db.job("webhook_erase('paused', path => %s::jsonpath)", path) > 0
    assert db.job("webhook_erase('retried')") > 0
    db.wait_for_status(8, webhook="hook")
    db.wait_for_status(4, "dead")
    db.run("SELECT webhook_update('hook', headers => %s::jsonb)", json.dumps({"X-Other": MARK}))
    for _ in range(SLOTS):
        turn(db.connection)
    seen = [line for (line,) in db.rows("SELECT data FROM pg_logical_slot_get_changes('spy', NULL, NULL)")]
    assert [line for line in seen if MARK in line and line.startswith("table public.items")]
    ours = [line for line in seen if line.startswith("table webhook.")]
    assert [line for line in ours if line.startswith("table webhook.cursor: UPDATE")]
    assert not [line for line in ours if MARK in line]
    assert not [line for line in seen if "TRUNCATE" in line]


def test_what_is_changed_has_a_key(databases):
    """Otherwise a publisher's statements would fail. A row can be known by all of it. Events and attempts are only ever added."""
    db = databases("keys")
    without = """
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = 'r' AND c.relreplident <> 'f'
          AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"""
    assert {re.sub("_[0-9]$", "", name) for (name,) in db.rows(without)} == {"event", "attempt"}


@pytest.mark.parametrize("way", ["replica-role", "disable-triggers"])
def test_a_copy_of_the_data_keeps_all_webhooks(server, databases, receiver, way):
    """Which is made in replica role, as replication works, or without triggers."""
    name = way.replace("-", "_")
    origin, copy = databases(f"from_{name}"), databases(f"to_{name}")
    for number in range(3):
        origin.create(f"hook {number}", receiver.url("/"), table_name="items")
    arguments = ["--disable-triggers"] if way == "disable-triggers" else []
    dump = subprocess.run(
        [BIN / "pg_dump", "--data-only", *arguments, "-d", server.dsn(origin.name)], capture_output=True, text=True, check=True
    ).stdout
    options = {"PGOPTIONS": "-c session_replication_role=replica"} if way == "replica-role" else {}
    subprocess.run(
        [BIN / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", server.dsn(copy.name)],
        input=dump, text=True, check=True, env={"PATH": "/usr/bin:/bin", **options}, stdout=subprocess.DEVNULL,
    )
    names = "SELECT name, url FROM webhook.webhook ORDER BY name"
    assert copy.rows(names) == origin.rows(names) and len(copy.rows(names)) == 3
    # ENABLE TRIGGER ALL, as such a dump ends, makes of each trigger an ordinary one.
    said = [problem for _, _, problem, hint in copy.rows("SELECT * FROM webhook_check()") if "_skip_applied" in problem]
    assert bool(said) == (way == "disable-triggers")
    for problem, hint in copy.rows("SELECT problem, hint FROM webhook_check() WHERE problem ~ '_skip_applied'"):
        copy.run(hint[hint.index("ALTER TABLE"):])
    assert not copy.rows("SELECT FROM webhook_check() WHERE problem ~ '_skip_applied'")
