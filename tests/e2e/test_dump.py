"""What a dump holds, whoever makes it and however it is restored: the same webhooks, the same events, nothing sent."""

import contextlib
import itertools
import re

import psycopg
import pytest

from harness import Cluster, Receiver, wait_until
from harness.checks import hex_hmac
from harness.cluster import Database
from harness.dumps import dump, feed, restore, run, text_of
from harness.dumps import events as events_of
from harness.session import Session
from harness.status import HEARS_NOTHING
from harness.verify import verify_python

# What is dumped: the roles that a server without them misses.
ANN, APP, BOSS, READER, WRITER = "dump_ann", "dump_app", "dump_boss", "dump_reader", "dump_writer"

DEFINITIONS = """
    SELECT name, url, description, enabled, tables::text, event_types, emitters::text, format, signature, transform::text,
        max_retries, timeout_seconds, retry_for, max_concurrency, rate_limit, max_backlog, max_backlog_age, owner::text, id, created_at
    FROM webhook.webhooks ORDER BY name
"""
TRIGGERS = """
    SELECT pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger AS t
    WHERE t.tgfoid = 'webhook.capture()'::regprocedure ORDER BY t.tgrelid::regclass::text, t.tgname
"""
LEVELS = "SELECT r.rolname, l.level FROM webhook.level AS l JOIN pg_roles AS r ON r.oid = l.role ORDER BY 1"
CHECKS = "SELECT webhook, problem FROM webhook_check() ORDER BY 1, 2"
UNARMED = "unarmed: the webhook came with a dump of another database"
NO_SECRET = "the webhook has no secret: it came with a dump, which holds none"

CHANGES = """
    SET LOCAL search_path = public;
    INSERT INTO bills VALUES (1, 10, 'a', 'hidden'), (2, 200, NULL, 'hidden');
    UPDATE bills SET total = 300 WHERE id = 1;
    UPDATE bills SET remark = 'b' WHERE id = 2;
    UPDATE bills SET secret = 'other';
    DELETE FROM bills WHERE id = 1;
    INSERT INTO logs VALUES (1, 'low'), (200, 'high');
    SELECT webhook_emit('bill.paid', '{}');
"""
def events(db):
    return events_of(db, CHANGES)


def state(db):
    with db.cluster.connect(db.name) as session:
        return [session.execute(query).fetchall() for query in (DEFINITIONS, TRIGGERS, LEVELS)]


# What is sent of the changes in sends_once_armed: before the database is armed, and afterwards.
WAITING = [("ours", "DELETE"), ("whole", "DELETE"), ("whole", "INSERT")]
FRESH = [
    ("hears", "bill.paid"), ("narrow", "UPDATE"), ("ours", "DELETE"), ("parted", "INSERT"),
    ("whole", "DELETE"), ("whole", "INSERT"), ("whole", "UPDATE"),
]


def sends_once_armed(other, target, waiting=WAITING):
    """Arms a database: nothing of what has come is sent before, not even by webhook_test, and all afterwards, but for what
    has no secret, which is named. Its tables are as they were then, and its webhooks have secrets."""
    came = "FROM webhook.webhooks WHERE url = %s ORDER BY name"
    owners = dict(other.rows(f"SELECT name, owner::text {came}", target.url("/")))
    assert sorted(owners) == ["hears", "narrow", "ours", "parted", "whole"]
    deliveries = "SELECT webhook, event_type FROM webhook.deliveries WHERE event_type <> 'TEST' ORDER BY 1, 2"
    lacks = "SELECT DISTINCT webhook FROM webhook_check() WHERE problem = %s ORDER BY 1"
    seen = len(target.got())
    with contextlib.ExitStack() as stack:
        people = {
            role: Session(stack.enter_context(other.cluster.connect(other.name, user=role))) for role in {WRITER, *owners.values()}
        }
        writer = people[WRITER]
        writer.run("INSERT INTO bills VALUES (1, 200, 'before', 'x')")
        writer.run("DELETE FROM bills")
        assert other.rows(deliveries) == waiting
        # One that lacks nothing but that.
        secrets = {"whole": people[owners["whole"]].value("SELECT webhook_rotate_secret('whole')")}
        for name, owner in owners.items():
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=f'webhook "{name}" is unarmed'):
                people[owner].run("SELECT webhook_test(%s)", name)
        # The worker has looked at all of that: it has come again.
        worker = "SELECT pid FROM webhook.worker WHERE state = 'unarmed'"
        pid = wait_until(lambda: other.value(worker), lambda: str(other.rows("SELECT * FROM webhook.worker")))
        other.run("SELECT pg_terminate_backend(%s)", pid)
        wait_until(lambda: other.value(worker) not in (None, pid), "the worker to come again")
        assert other.rows(lacks, UNARMED) == [(name,) for name in owners]
        assert len(target.got()) == seen and other.rows("SELECT FROM webhook.attempts") == []

        other.run("SELECT webhook_arm()")
        other.wait_for_status(len([name for name, _ in waiting if name == "whole"]), webhook="whole")
        assert other.rows(lacks, NO_SECRET) == [(name,) for name in owners if name != "whole"]
        error = "the webhook has no secret; give it one with public.webhook_update"
        assert people[owners["ours"]].value("SELECT error FROM webhook_test('ours')") == f"internal: {error}"
        assert {health for health, in other.rows(f"SELECT (name = 'whole', health, health_reason)::text {came}", target.url("/"))} == {
            "(t,healthy,)", f'(f,broken,"{NO_SECRET}")'
        }
        for name, owner in owners.items():
            if name != "whole":
                secrets[name] = people[owner].value("SELECT webhook_rotate_secret(%s)", name)
        writer.run("INSERT INTO bills VALUES (2, 200, 'after', 'x')")
        writer.run("UPDATE bills SET remark = 'later'")
        writer.run("DELETE FROM bills")
        writer.run("INSERT INTO logs VALUES (1, 'low')")
        writer.run("DELETE FROM logs")
        other.run("SELECT webhook_emit('bill.paid', '{}')")
    other.wait_for_status(len(waiting) + len(FRESH))
    assert other.rows(deliveries) == sorted(waiting + FRESH)
    requests = {request.id: request for request in target.got()[seen:]}
    sent = other.rows("SELECT webhook, event_id FROM webhook.deliveries WHERE status = 'delivered'")
    assert sorted(requests) == sorted(event for _, event in sent)
    for name, event in sent:
        request = requests[event]
        if name == "ours":
            # As Truss does.
            assert request.headers["x-truss-signature"] == hex_hmac(secrets[name], request.body)
        else:
            verify_python(secrets[name], request)
    assert {problem for _, problem in other.rows(CHECKS)}.isdisjoint({UNARMED, NO_SECRET})


@pytest.fixture(scope="module")
def target():
    server = Receiver()
    yield server
    server.close()


@pytest.fixture(scope="module")
def origin(cluster, target):
    """A database of dump_boss with webhooks of dump_ann and of a superuser; what was named has been renamed since."""
    db = Database(cluster, "origin")
    before = {role: f"{role}_before" for role in (ANN, APP)}
    for role in (*before.values(), BOSS, READER, WRITER):
        db.run(f"CREATE ROLE {role} LOGIN")
    db.run(f"ALTER DATABASE origin OWNER TO {BOSS}; GRANT pg_read_all_data TO {READER}; GRANT CREATE ON SCHEMA public TO {before[ANN]}")
    db.run("SELECT webhook_grant(%s, 'member'), webhook_grant(%s, 'viewer')", before[ANN], BOSS)
    with cluster.connect("origin", user=before[ANN]) as ann:
        ann.execute(
            "CREATE TABLE orders (gone int, id int PRIMARY KEY, total numeric, note text, secret text); ALTER TABLE orders DROP gone;"
            "CREATE TABLE logs (id int, note text) PARTITION BY RANGE (id);"
            "CREATE TABLE logs_low PARTITION OF logs FOR VALUES FROM (0) TO (100);"
            "CREATE TABLE logs_high PARTITION OF logs DEFAULT;"
            "CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 || '{\"shaped\": true}' $$;"
            f"GRANT ALL ON orders, logs TO {WRITER}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {BOSS}"
        )
        create = ("SELECT webhook_create(%s, %s, %s, events => %s, columns => %s, condition => %s, payload_columns => %s,"
                  " transform => %s, emitters => %s::regrole[])")
        url = target.url("/")
        for arguments in (
            ("narrow", url, "orders", ["UPDATE"], ["note", "total"], "NEW.total > 100", ["note", "id"], None, None),
            ("whole", url, "orders", None, None, None, None, "shape(jsonb)", None),
            ("parted", url, "logs", ["INSERT"], None, "NEW.id > 0", None, None, None),
            ("hears", url, None, ["bill.*"], None, None, None, None, [before[APP], "postgres"]),
        ):
            ann.execute(create, arguments)
        ann.execute("SELECT webhook_pause('parted'), webhook_resume('parted')")
    # Where it is restored it is tried without a secret first, and soon again.
    bounds = {"max_retries": 30, "retry_backoff_seconds": 1, "rate_limit": 5, "max_backlog": 7, "max_backlog_age": "9 days"}
    db.create("ours", url, table_name="orders", events=["DELETE"], format="truss", **bounds)
    db.run("SELECT webhook_delete(webhook_create.id::text) FROM webhook_create('deleted', %s)", url)
    db.run("ALTER TABLE orders RENAME note TO remark; ALTER TABLE orders RENAME TO bills")
    for role, name in before.items():
        db.run(f"ALTER ROLE {name} RENAME TO {role}")
    yield db
    db.drop()
    with cluster.connect() as admin:
        for role in (ANN, APP, BOSS, READER, WRITER):
            admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


# The options of pg_dump, and of each pg_restore; psql restores what has none of these.
WAYS = {
    "plain": ((), ()),
    "custom": (("-Fc",), ((),)),
    "custom, at once": (("-Fc",), (("-1",),)),
    "directory": (("-Fd", "-j2"), (("-j2",),)),
    "sections": (("-Fc",), (("--section=pre-data",), ("--section=data",), ("--section=post-data",))),
    "schema, then data": (("-Fc",), (("--schema-only",), ("--data-only",))),
    "data without triggers": (("-Fc",), (("--schema-only",), ("--data-only", "--disable-triggers"))),
    "inserts": (("-Fc", "--column-inserts"), ((),)),
}


@pytest.mark.parametrize("how", WAYS)
def test_a_restored_database_is_as_the_original(origin, cluster, copy, target, how):
    """Whatever has been renamed; its own dump says the same, and it sends, once it has been armed."""
    made, restored = WAYS[how]
    place = dump(origin, *made, name=re.sub(r"\W+", "_", how))
    other = copy(cluster)

    def is_as_the_original():
        assert state(other) == state(origin)
        assert events(other) == events(origin)
        assert text_of(other) == text_of(origin)

    if not restored:
        feed(other, place)
    for options in restored:
        assert restore(other, place, *options) == ""
    if how == "data without triggers":
        # Nothing has looked for the tables and roles, so nothing is captured either.
        assert {problem for _, problem in other.rows(CHECKS) if "was not there" in problem}
        sends_once_armed(other, target, waiting=[])
    else:
        is_as_the_original()
        sends_once_armed(other, target)
    is_as_the_original()
    assert other.rows(CHECKS) == []
    # The next webhook finds a place for itself.
    other.create("one more", "http://127.0.0.1:9/")


@pytest.mark.parametrize("role", [BOSS, READER])
def test_who_can_make_a_dump(origin, role):
    """The owner of the database, and a member of pg_read_all_data: no superuser."""
    assert text_of(origin, user=role) == text_of(origin)


def test_who_owns_the_database_reads_what_a_dump_holds_and_no_more(origin, cluster):
    with cluster.connect("origin", user=BOSS) as boss:
        for table in ("webhook", "watch", "level", "owner", "emitter_role", "watch_trigger", "watch_payload"):
            boss.execute(f"SELECT FROM webhook.{table}")
        for table in ("secret", "event", "pending", "attempt", "emitter"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                boss.execute(f"SELECT FROM webhook.{table}")
        for statement in ("DELETE FROM webhook.webhook", "UPDATE webhook.watch SET events = '{}'", "INSERT INTO webhook.level DEFAULT VALUES"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                boss.execute(statement)


def test_bounds_hold_in_a_restored_database(origin, cluster, copy):
    """Before it is armed and afterwards: those that the dump has brought."""
    other = copy(cluster)
    feed(other, dump(origin))
    other.run(f"GRANT CREATE ON DATABASE copy TO {ANN}")
    other.run("SELECT webhook_pause('ours')")
    for step, dead in (("unarmed", 2), ("armed", 5)):
        with cluster.connect("copy", user=WRITER) as writer:
            writer.execute("INSERT INTO bills SELECT generate_series(1, %s)", [9 if step == "unarmed" else 3])
            writer.execute("DELETE FROM bills")

        def found():
            # By that it is looked at once.
            other.run("SELECT webhook_update('ours', description => %s)", step)
            return dict(other.rows("SELECT status, count(*) FROM webhook.deliveries WHERE webhook = 'ours' GROUP BY 1"))

        wait_until(lambda: found() == {"pending": 7, "dead": dead}, lambda: (step, found()))
        other.run("SELECT webhook_arm()")
    assert other.rows("SELECT DISTINCT error FROM webhook.dead_letters") == [("backlog_full: more than 7 events wait (the webhook's max_backlog)",)]


def test_a_dump_without_owners_and_privileges(origin, cluster, copy, target):
    """Webhooks belong to whoever restores, and levels have nothing of what comes with them."""
    other = copy(cluster)
    assert restore(other, dump(origin, "-Fc"), "--no-owner", "--no-privileges") == ""
    names = [row[0] for row in other.rows("SELECT name FROM webhook.webhooks WHERE owner = 'postgres'::regrole ORDER BY 1")]
    assert names == ["hears", "narrow", "ours", "parted", "whole"]
    assert state(other)[1] == state(origin)[1]
    told = {problem for _, problem in other.rows(CHECKS)} - {NO_SECRET, UNARMED}
    owned = f"the webhook came with a dump in which it belonged to role {ANN}, and belongs to role postgres here: it runs no transform and no cast"
    levels = {f"role {ANN} is member without the privileges that come with it", f"role {BOSS} is viewer without the privileges that come with it"}
    assert told == {owned, *levels}
    other.run("SELECT webhook_update(id::text, owner => 'postgres') FROM webhook.webhooks")
    other.run(f"GRANT ALL ON bills, logs TO {WRITER}")
    sends_once_armed(other, target)
    for hint, in other.rows("SELECT hint FROM webhook_check()"):
        other.run(hint.split(" gives ")[0])
    assert other.rows(CHECKS) == []
    with cluster.connect("copy", user=ANN) as ann:
        ann.execute("SELECT webhook_create('mine', 'http://127.0.0.1:9/')")


def test_a_server_without_the_roles_that_preloads_nothing(origin, own_cluster, copy):
    """Each thing of theirs that cannot be is an error of its own; the webhooks are all there."""
    bare = own_cluster(shared_preload_libraries="''")
    other = copy(bare)
    said = feed(other, dump(origin), check=False)
    errors = {line.split("ERROR:  ")[1] for line in said.splitlines() if "ERROR: " in line}
    assert errors == {f'role "{role}" does not exist' for role in (ANN, APP, BOSS, WRITER)}
    assert [row[0] for row in other.rows("SELECT name FROM webhook.webhooks ORDER BY 1")] == ["hears", "narrow", "ours", "parted", "whole"]
    assert state(other)[1] == state(origin)[1]
    told = {problem for _, problem in other.rows(CHECKS)}
    assert {f"role {ANN}, which is member in the dump, is not there", NO_SECRET} <= told
    # What was a transform's is a dead letter.
    assert [event[:2] for event in events(other)] == [event[:2] for event in events(origin)]
    other.run("SELECT webhook_arm()")
    other.run(f"CREATE ROLE {ANN}; GRANT SELECT ON webhook.webhooks TO {ANN}")
    other.run("SELECT webhook_arm()")
    assert other.rows(LEVELS) == []


def test_a_database_with_webhooks_of_its_own(origin, cluster, copy, target):
    other = copy(cluster)
    other.run("CREATE EXTENSION pg_webhook; CREATE TABLE own (id int)")
    for name in ("one", "two", "narrow"):
        other.create(name, "http://127.0.0.1:9/", table_name="own")
    before = other.rows("SELECT id, uuid, name FROM webhook.webhook ORDER BY id")
    restore(other, dump(origin, "-Fc"))
    assert other.rows("SELECT id, uuid, name FROM webhook.webhook WHERE uuid = ANY (%s) ORDER BY id", [row[1] for row in before]) == before
    theirs = [row for row in state(other)[0] if row[3] and "own" not in (row[4] or "")]
    assert theirs == state(origin)[0]
    named = [event for event in events(other) if event[0] != "narrow" or "public.own" not in event[2]]
    assert named == events(origin)
    assert other.value("SELECT count(DISTINCT id) FROM webhook.webhook") == 8
    other.create("one more", "http://127.0.0.1:9/")
    sends_once_armed(other, target)


def test_a_database_with_webhooks_of_its_own_and_data_without_triggers(origin, cluster, copy):
    """Nothing finds places then: an error, and nothing is changed. What was disabled is there again when it is armed."""
    other = copy(cluster)
    other.run("CREATE EXTENSION pg_webhook")
    names = ("one", "two", "three")
    for name in names:
        other.create(name, "http://127.0.0.1:9/")
    place = dump(origin, "-Fc", "-t", "webhook.*", "-e", "pg_webhook", name="ours")
    said = restore(other, place, "--data-only", "--disable-triggers", check=False)
    assert 'duplicate key value violates unique constraint "webhook_pkey"' in said
    assert sorted(name for name, in other.rows("SELECT name FROM webhook.webhook")) == sorted(names)
    other.run("SELECT webhook_arm()")
    firing = "SELECT tgenabled FROM pg_trigger WHERE tgname = 'restore'"
    assert other.rows(firing) == [("A",)] * 3
    restore(other, place, "--data-only")
    assert other.value("SELECT count(*) FROM webhook.webhook") == 8


def test_a_dump_that_is_restored_twice(origin, cluster, copy, target):
    """One message for each webhook, and nothing of it is changed."""
    other = copy(cluster)
    place = dump(origin)
    feed(other, place)
    before = state(other)
    # As some tools do it: ordinary triggers do not fire.
    said = feed(other, place, "-c", "SET session_replication_role = replica", check=False)
    warnings = [line.split("WARNING:  ")[1] for line in said.splitlines() if "WARNING: " in line]
    assert sorted(re.sub(r" \(.*?\)", "", line) for line in warnings) == [
        f'webhook "{name}" of the dump is here already, and stays as it is' for name in ("hears", "narrow", "ours", "parted", "whole")
    ]
    assert not re.findall(r"(?m)ERROR: .*webhook (?!.*already exists).*$", said)
    assert state(other) == before
    assert events(other) == events(origin)
    sends_once_armed(other, target)
    # What has been changed here stays so.
    other.run("SELECT webhook_delete('parted'), webhook_unwatch('narrow', 'bills')")
    before = state(other)[0]
    feed(other, place, check=False)
    assert state(other)[0] == before
    assert {name for name, _, _ in events(other)} == {"hears", "ours", "whole"}
    # One that stands in the way of another one.
    other.run("UPDATE webhook.webhook SET uuid = gen_random_uuid() WHERE name = 'hears'")
    said = feed(other, place, check=False)
    assert [line for line in said.splitlines() if 'webhook "hears"' in line and "is left out: its owner has another one of that name" in line]
    assert other.value("SELECT count(*) FROM webhook.webhook WHERE deleted_at IS NULL") == 4


def test_schema_only(origin, cluster, copy):
    """Triggers without webhooks do nothing, which is said."""
    other = copy(cluster)
    restore(other, dump(origin, "-Fc"), "--schema-only")
    assert other.rows(DEFINITIONS) == []
    assert events(other) == []
    told = other.rows("SELECT webhook, severity, problem FROM webhook_check()")
    assert told and {(name, severity) for name, severity, _ in told} == {(None, "warning")}
    assert all("belongs to no webhook, and does nothing" in problem for _, _, problem in told)


def test_one_table(origin, cluster, copy):
    """Its triggers come along, and are for nothing."""
    place = dump(origin, "-t", "bills")
    other = copy(cluster)
    other.run("CREATE EXTENSION pg_webhook")
    feed(other, place)
    other.run("INSERT INTO bills VALUES (1, 200, 'a', 'x')")
    assert other.value("SELECT count(*) FROM webhook.event") == 0
    assert other.value("SELECT count(*) FROM webhook_check() WHERE problem LIKE '%%belongs to no webhook%%'") == 5


def test_a_whole_server(origin, cluster, own_cluster, target):
    place = cluster.folder / "server.sql"
    run(cluster, "pg_dumpall", "-f", place, "--exclude-database=t*")
    other = own_cluster()
    run(other, "psql", "-X", "-q", "-d", "postgres", "-f", place, check=False)
    with contextlib.closing(Database(other, "origin", is_there=True)) as restored:
        assert state(restored) == state(origin)
        sends_once_armed(restored, target)
        assert state(restored) == state(origin)


def test_a_table_that_is_missing(origin, cluster, copy):
    """It is said when the dump is restored and later; nothing that gets its name after the database is armed is taken for it."""
    place = dump(origin, "-Fc", "-T", "bills", name="without")
    other = copy(cluster)
    said = restore(other, place, "--verbose", check=False)
    assert said.count("WARNING:  table public.bills is not there") == 3
    missing = [(name, "table public.bills was not there when a dump was restored") for name in ("narrow", "ours", "whole")]
    assert [row for row in other.rows(CHECKS) if row[1] not in (NO_SECRET, UNARMED)] == missing
    watches = other.rows("SELECT id FROM webhook.watch WHERE relation = 0")
    other.run("SELECT webhook_arm()")
    make = "CREATE TABLE bills (id int PRIMARY KEY, total numeric, remark text, secret text);" + "".join(
        f'CREATE TRIGGER "_webhook_{watch}_{operation}" AFTER {operation} ON bills FOR EACH ROW'
        f" EXECUTE FUNCTION webhook.capture('{watch}');"
        for (watch,), operation in itertools.product(watches, ("insert", "update", "delete"))
    )
    other.run(make)
    other.run("SELECT webhook_arm()")
    assert {event[0] for event in events(other)} == {"parted", "hears"}
    hint = other.value("SELECT hint FROM webhook_check('narrow') WHERE problem LIKE 'table%%'")
    other.run(re.search(r"SELECT \w+.webhook_unwatch.*\)", hint)[0])
    assert [problem for name, problem in other.rows(CHECKS) if name == "narrow"] == [NO_SECRET, HEARS_NOTHING]


def test_what_is_gone_is_not_dumped_as_what_has_its_name_now(cluster, copy, people, db):
    """A table, and a column that is sent."""
    db.run("CREATE TABLE things (id int, note text, secret text); CREATE TABLE others (id int)")
    db.create("columns", "http://127.0.0.1:9/", table_name="things", payload_columns=["note", "id"])
    db.create("table", "http://127.0.0.1:9/", table_name="others")
    db.run("ALTER TABLE things DROP note; ALTER TABLE things RENAME secret TO note")
    db.run("DROP TABLE others; CREATE TABLE others (id int)")
    other = copy(cluster)
    feed(other, dump(db))
    for watch, in other.rows("SELECT id FROM webhook.watch WHERE table_name = 'others'"):
        other.run(f'CREATE TRIGGER "_webhook_{watch}_insert" AFTER INSERT ON others FOR EACH ROW EXECUTE FUNCTION webhook.capture(\'{watch}\')')
    for _ in range(2):
        other.run("INSERT INTO things VALUES (1, 'hidden'); INSERT INTO others VALUES (1)")
        assert other.value("SELECT count(*) FROM webhook.event") == 0
        assert [problem for _, problem in other.rows(CHECKS) if problem not in (NO_SECRET, UNARMED)][:1] == [
            'column "" of public.things, which is among payload_columns, has been dropped'
        ]
        other.run("SELECT webhook_arm()")


OWN_DOMAIN = """
    SELECT typname FROM pg_type
    WHERE typnamespace = 'webhook'::regnamespace AND typtype = 'd' AND typowner = current_user::regrole"""


def test_an_unarmed_copy_loses_the_extension(origin, cluster, copy):
    """By a plain DROP EXTENSION: what a dump, its schema alone, and a copy by TEMPLATE have brought and nobody has armed."""
    left = ("SELECT (SELECT count(*) FROM pg_type WHERE typname ~ '^(owner|transform_of)_')"
            " + (SELECT count(*) FROM pg_namespace WHERE nspname = 'webhook')"
            " + (SELECT count(*) FROM pg_trigger WHERE tgname ~ '^_webhook')")
    whole, schema = copy(cluster, "unarmed"), copy(cluster, "unarmed_schema")
    feed(whole, dump(origin))
    feed(schema, dump(origin, "--schema-only", name="schema"))
    whole.run("INSERT INTO bills VALUES (1, 10, 'a', 'hidden')")
    for other in (whole, schema):
        other.close()
    with cluster.connect() as admin:
        admin.execute("CREATE DATABASE unarmed_template TEMPLATE unarmed")
    try:
        for name in ("unarmed", "unarmed_schema", "unarmed_template"):
            with cluster.connect(name, user=ANN) as ann:
                # Who may not drop it adopts nothing.
                with pytest.raises(psycopg.errors.InsufficientPrivilege), ann.transaction():
                    ann.execute("DROP EXTENSION pg_webhook")
                # Nor does it keep the extension by what it calls its own.
                mine = ann.execute(OWN_DOMAIN).fetchone()[0]
                ann.execute(f"ALTER DOMAIN webhook.{mine} RENAME TO mine")
            with cluster.connect(name) as session:
                assert session.execute(left).fetchone() != (0,)
                session.execute("DROP EXTENSION IF EXISTS pg_trgm, pg_webhook")
                assert session.execute(left).fetchone() == (0,)
                rows = session.execute("SELECT * FROM bills").fetchall()
                assert rows == ([] if name == "unarmed_schema" else [(1, 10, "a", "hidden")])
    finally:
        with cluster.connect() as admin:
            admin.execute("DROP DATABASE unarmed_template WITH (FORCE)")


# The program, what the owner of the database leaves out, and what the server refuses: the comment on the extension, and all of ours.
NOT_THE_OWNERS = {
    "archive": ("pg_restore", ("--exclude-schema=webhook",), {"must be owner of extension pg_webhook"}),
    "whole archive": ("pg_restore", (), {
        "must be owner of extension pg_webhook", "permission denied for schema webhook",
        *(f"permission denied for table {table}" for table in ("level", "watch", "webhook")),
    }),
    "plain": ("psql", ("--exclude-schema=webhook",), {"must be owner of extension pg_webhook"}),
}


@pytest.mark.parametrize("how", NOT_THE_OWNERS)
def test_the_owner_of_the_database_restores_all_but_webhooks(origin, cluster, copy, how):
    """Which a superuser does afterwards, because nobody else may write what they are. Until then they are missing, which is told."""
    program, without, refused = NOT_THE_OWNERS[how]
    other = copy(cluster, "by_boss")
    other.run(f"CREATE EXTENSION pg_webhook; ALTER DATABASE by_boss OWNER TO {BOSS}; SELECT webhook_grant('{BOSS}', 'viewer')")
    archive = dump(origin, "-Fc", name="parts")

    def part(user, *options):
        if program == "psql":
            said = run(cluster, "psql", "-X", "-q", "-d", "by_boss", "-f", dump(origin, *options, name="part"), user=user, check=False)
        else:
            said = run(cluster, "pg_restore", "-d", "by_boss", *options, archive, user=user, check=False)
        return set(re.findall(r"ERROR: +(.*)", said.stdout))

    assert part(BOSS, *without, "--no-owner", "--no-privileges") == refused
    with cluster.connect("by_boss", user=BOSS) as boss:
        boss.execute("INSERT INTO bills VALUES (1, 10, 'a', 'hidden'); DELETE FROM bills; INSERT INTO logs VALUES (1, 'low')")
        told = boss.execute("SELECT problem, hint FROM webhook_check()").fetchall()
        assert len(told) == 6
        for problem, hint in told:
            assert "belongs to no webhook" in problem and hint.endswith("a superuser restores that with pg_restore --schema=webhook.")
        boss.execute("TRUNCATE logs")
    assert other.value("SELECT count(*) FROM webhook.event") == 0

    # pg_dump takes the rows of an extension's tables for the extension's.
    assert part("postgres", "--schema=webhook", *(["--extension=pg_webhook"] if program == "psql" else [])) == set()
    names = "SELECT name, owner::text FROM webhook.webhooks ORDER BY 1"
    assert other.rows(names) == origin.rows(names)
    assert state(other)[1] == state(origin)[1]
    # The tables are not those of the webhooks' owner any more, nor is the transform.
    with cluster.connect("by_boss", user=BOSS) as boss:
        boss.execute(f"GRANT SELECT ON bills, logs TO {ANN}")
        told = boss.execute("SELECT problem FROM webhook_check()").fetchall()
    assert told == []

    def untransformed(db):
        return [event for event in events(db) if event[0] != "whole"]

    assert untransformed(other) == untransformed(origin)
    other.run("SELECT webhook_arm()")
    assert untransformed(other) == untransformed(origin)
