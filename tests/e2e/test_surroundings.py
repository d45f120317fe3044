"""What others have set and made around our tables: triggers, access methods, tablespaces, unlogged tables."""

import itertools

import psycopg
import pytest

from harness import wait_until
from harness.copies import records
from harness.people import People
from harness.receiver import reply
from harness.ring import age, slot

# As scripts put it on every table that there is.
AUDIT = """
    CREATE TABLE audit (what text);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.audit VALUES (TG_TABLE_NAME || ' ' || TG_OP);
        %s
    END $$;
    DO $$
    DECLARE
        t regclass;
    BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'webhook'::regnamespace
        LOOP
            EXECUTE format('CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON %%s FOR EACH ROW EXECUTE FUNCTION audit()', t);
        END LOOP;
    END $$"""


@pytest.fixture
def watched(db, receiver):
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    return db


def about(db, word):
    return db.rows("SELECT severity, problem, hint FROM webhook_check() WHERE problem LIKE %s ORDER BY problem", f"%{word}%")


def test_the_worker_fires_no_triggers_of_others(watched, receiver):
    """Which fail, on each table: it goes on beyond what it keeps in memory, through failures and their retries."""
    db = watched
    db.run(AUDIT % "RAISE EXCEPTION 'no';")
    receiver.on("/", *[reply(500)] * 3, reply(200))
    db.run("INSERT INTO items SELECT generate_series(1, 2500)")
    wait_until(lambda: len([r for r in receiver.got("/") if r.answered == 200]) >= 2000, "what goes on", timeout=60)
    wait_until(lambda: db.statuses().get("retrying", 0) + db.statuses().get("delivered", 0) == 2500, lambda: str(db.statuses()))
    assert db.value("SELECT last_error FROM webhook.worker") in (None, "")
    tables = db.value(
        "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'webhook'::regnamespace"
    )
    told = about(db, "trigger audit")
    assert len(told) == tables
    assert {(severity, hint[-1:] != "") for severity, _, hint in told} == {("warning", True)}
    # Its hint is right.
    for _, _, hint in told:
        db.run(hint[hint.index("DROP TRIGGER"):])
    assert not about(db, "trigger audit")


def test_triggers_of_others_fire_for_functions_that_users_call(watched, receiver):
    db = watched
    receiver.default(reply(500))
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "retrying")
    db.run(AUDIT % "RETURN NULL;")
    [(cancelled,)] = db.rows("SELECT webhook_cancel(id) FROM webhook.deliveries")
    assert cancelled
    db.wait_for_status(1, "cancelled")
    wait_until(lambda: db.value("SELECT bool_and(settled) FROM webhook.closed"), "it to be put away")
    assert db.rows("SELECT what FROM audit") == [("closed INSERT",)]


def test_one_that_always_fires_is_told_apart(watched):
    db = watched
    db.run(AUDIT % "RETURN NULL;")
    db.run("ALTER TABLE webhook.cursor ENABLE ALWAYS TRIGGER audit")
    db.run("INSERT INTO items VALUES (1)")
    wait_until(lambda: db.value("SELECT count(*) FROM audit WHERE what = 'cursor UPDATE'"), "the cursor to move")
    assert db.rows("SELECT DISTINCT what FROM audit") == [("cursor UPDATE",)]
    hints = {problem: hint for _, problem, hint in about(db, "trigger audit")}
    assert "It fires" in hints["trigger audit on webhook.cursor is not one of pg_webhook"]
    assert "It does not fire" in hints["trigger audit on webhook.closed is not one of pg_webhook"]


AUDITED = """
    SELECT c.oid::regclass::text, n.nspname = 'webhook', c.relispartition
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema)' AND c.oid <> 'public.audit'::regclass"""
WRITES_DOWN = """
    CREATE TABLE audit (what text);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.audit VALUES (TG_TABLE_NAME || ' ' || TG_OP || ' ' || TG_WHEN || ' ' || TG_LEVEL);
        RETURN coalesce(NEW, OLD);
    END $$;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$"""


def audit(db, of_ours):
    """Triggers of every kind on every table that there is: before and after, for rows, for statements, and for TRUNCATE.
    Those on tables of ours call `of_ours`, the others write down. Returns how many are on tables of ours."""
    db.judge.run(WRITES_DOWN)
    triggers = []
    for (table, ours, partition), moment in itertools.product(db.judge.rows(AUDITED), ("BEFORE", "AFTER")):
        kinds = [("INSERT OR UPDATE OR DELETE", "STATEMENT"), ("TRUNCATE", "STATEMENT")]
        # Partitions get those for rows with their table.
        for events, level in kinds if partition else [*kinds, ("INSERT OR UPDATE OR DELETE", "ROW")]:
            name = f"audit_{moment}_{level}_{events.split()[0]}"
            function = of_ours if ours else "audit"
            triggers.append((ours, f"CREATE TRIGGER {name} {moment} {events} ON {table} FOR EACH {level} EXECUTE FUNCTION public.{function}()"))
    db.judge.run(";".join(statement for _, statement in triggers))
    return sum(ours for ours, _ in triggers)


def fired(table, operation, rows=1):
    """What is written down of a statement."""
    levels = ["STATEMENT"] if operation == "TRUNCATE" else ["STATEMENT", *["ROW"] * rows]
    return [f"{table} {operation} {moment} {level}" for moment, level in itertools.product(("BEFORE", "AFTER"), levels)]


@pytest.fixture
def owned(db, receiver):
    """A table and a partitioned one of an ordinary role, with webhooks of it."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    db.run("CREATE TABLE part PARTITION OF parts DEFAULT")
    events = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"]
    db.create("hook", receiver.url("/"), table_name="items", events=events, retry_backoff_seconds=1)
    db.create("parts", receiver.url("/parts"), table_name="parts", max_retries=0)
    return db


def test_triggers_of_every_kind_that_fail_stop_nothing(owned, receiver):
    """On tables of ours, beside others on all tables: events are sent and retried and die, and the log turns. A function that a
    user calls fires them, and fails as a whole."""
    db = owned
    count = audit(db, "refuse")
    receiver.on("/", *[reply(500)] * 3, reply(200))
    receiver.on("/parts", reply(500))
    db.run("INSERT INTO items SELECT generate_series(1, 50); UPDATE items SET id = -id; DELETE FROM items WHERE id < -1; TRUNCATE items")
    db.run("INSERT INTO parts VALUES (1), (2)")
    db.wait_for_status(150, webhook="hook")
    db.wait_for_status(2, "dead", webhook="parts")
    assert len(receiver.got("/")) == 153 and len(receiver.got("/parts")) == 2
    with db.cluster.connect(db.name) as admin:
        # Nor does it fire what is for TRUNCATE, which is what the log is cut by.
        before = slot(admin)
        admin.execute("SET session_replication_role = replica")
        age(admin)
        wait_until(lambda: slot(admin) != before, "the log to turn")
    assert db.judge.value("SELECT last_error FROM webhook.worker") in (None, "")
    receiver.on("/parts", reply(200))
    for function in ("webhook_cancel", "webhook_replay"):
        with pytest.raises(psycopg.errors.RaiseException, match=r"^no\b"):
            db.run(f"SELECT {function}(id) FROM webhook.deliveries WHERE status = 'dead'")
    assert db.statuses() == {"delivered": 150, "dead": 2}
    told = about(db.judge, "trigger audit")
    assert len(told) == count
    assert {severity for severity, _, _ in told} == {"warning"}
    db.judge.run(";".join(hint[hint.index("DROP TRIGGER"):] for _, _, hint in told))
    assert not about(db.judge, "trigger audit")
    db.run("SELECT webhook_replay(id) FROM webhook.deliveries WHERE status = 'dead'")
    receiver.wait(4, "/parts")
    assert len(receiver.got("/parts")) == 4


def test_cancel_and_replay_beside_triggers_of_every_kind(owned, receiver):
    """On all tables: each sees what users and their functions write by statements, and nothing of what capture and the
    worker write."""
    db = owned
    audit(db, "audit")
    receiver.default(reply(500))
    written = []

    def wrote(*statements):
        """What has been written down since."""
        written.extend(itertools.chain(*statements))
        return sorted(what for what, in db.judge.rows("SELECT what FROM audit")) == sorted(written)

    db.run("INSERT INTO items VALUES (1), (2); UPDATE items SET id = 3 WHERE id = 2; DELETE FROM items WHERE id = 3; TRUNCATE items")
    db.run("INSERT INTO parts VALUES (1), (2)")
    db.wait_for_status(5, "retrying")
    db.wait_for_status(2, "dead")
    user = (
        fired("items", "INSERT", 2), fired("items", "UPDATE"), fired("items", "DELETE"), fired("items", "TRUNCATE"),
        # The partition's triggers for rows, and the table's for the statement.
        [what.replace("parts", "part") if what.endswith("ROW") else what for what in fired("parts", "INSERT", 2)],
    )
    assert wrote(*user)

    # A delivery that waits, and a dead letter; the others are delivered.
    for event, status in (("UPDATE", "retrying"), ("INSERT", "dead")):
        one = db.value("SELECT min(id) FROM webhook.deliveries WHERE event_type = %s AND status = %s", event, status)
        assert db.value("SELECT webhook_cancel(%s)", one) is True
        # INSERT .. ON CONFLICT DO UPDATE is a statement of both kinds.
        assert wrote(fired("closed", "INSERT"), fired("closed", "UPDATE", 0))
    wait_until(lambda: db.judge.value("SELECT bool_and(settled) FROM webhook.closed"), "them to be put away")
    receiver.default(reply(200))
    db.wait_for_status(4, webhook="hook")
    assert db.statuses() == {"delivered": 4, "cancelled": 2, "dead": 1}

    # A dead letter, which is none any more, and one that has been delivered.
    seen = len(receiver.got())
    chosen = "event_type = 'TRUNCATE' OR status = 'dead'"
    again = db.rows(f"SELECT webhook_replay(id), event_id FROM webhook.deliveries WHERE {chosen}")
    # Each asks first whether it is a dead letter in an order.
    assert wrote(fired("closed", "INSERT"), *[fired("closed", "INSERT", 0)] * 3)
    receiver.wait(seen + 2)
    assert sorted(request.id for request in receiver.got()[seen:]) == sorted(event for _, event in again)
    db.settled()
    assert db.statuses() == {"delivered": 6, "cancelled": 2, "dead": 1}
    assert db.rows("SELECT FROM webhook.dead_letters") == []
    assert wrote(), "nothing of the worker"


# Rows that name one that is not there: foreign keys do nothing in the worker's session.
ORPHANS = """
    SELECT format('SELECT count(*) FROM %s AS c WHERE NOT EXISTS (SELECT FROM %s AS p WHERE p.%I = c.%I)',
                  k.conrelid::regclass, k.confrelid::regclass, p.attname, c.attname)
    FROM pg_constraint k
    JOIN pg_attribute c ON c.attrelid = k.conrelid AND c.attnum = k.conkey[1]
    JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = k.confkey[1]
    WHERE k.contype = 'f' AND k.connamespace = 'webhook'::regnamespace"""


def orphans(db):
    keys = db.rows(ORPHANS)
    assert keys
    return sum(db.value(query) for (query,) in keys)


def test_a_webhook_that_is_forgotten_leaves_nothing(own_cluster, make_db, receiver, people_of):
    """By the worker, when the log has forgotten it, and when its owner goes."""
    db = make_db(own_cluster(pg_webhook__log_retention="60"))
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text); CREATE ROLE hears")
    person = people_of(db)
    person.run(f"CREATE TABLE {person.role}.things (id int, note text)")
    named = {"events": ["INSERT", "UPDATE", "a.b"], "columns": ["note"], "payload_columns": ["id"], "emitters": ["hears"]}
    arguments = ", ".join(f"{key} => '{{{','.join(value)}}}'" for key, value in named.items())
    db.run(f"SELECT webhook_create('hook', '{receiver.url('/')}', 'items', {arguments})")
    person.run(f"SELECT webhook_create('theirs', '{receiver.url('/')}', '{person.role}.things', {arguments})")
    db.run("INSERT INTO items VALUES (1)")
    person.run(f"INSERT INTO {person.role}.things VALUES (1)")
    db.wait_for_status(2)
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.health") == 2, "both to have answered")
    person.connection.close()
    db.run(f"DROP OWNED BY {person.role} CASCADE")
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.webhook WHERE deleted_at IS NOT NULL") == 1, "the worker to see it")
    assert orphans(db) == 0
    db.run("SELECT webhook_delete('hook')")
    db.create("awake", receiver.url("/"), table_name="items")
    db.run("UPDATE webhook.webhook SET deleted_at = deleted_at - interval '1 hour'")

    def forgotten():
        age(db.connection)
        db.run("SELECT webhook_update('awake', description => 'awake')")
        return db.value("SELECT count(*) FROM webhook.webhook") == 1

    wait_until(forgotten, "both to be forgotten", interval=0.1)
    assert orphans(db) == 0


@pytest.fixture
def people_of():
    made = []

    def make(db):
        people = People(db.cluster, db)
        made.append(people)
        return people("member", level="member")

    yield make
    for people in made:
        people.close()


def test_our_tables_are_heaps_whatever_the_default_is(cluster, make_db, receiver):
    db = make_db(cluster, extension=False)
    db.run("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler")
    db.run(f'ALTER DATABASE "{db.name}" SET default_table_access_method = other')
    with db.connect() as session:
        session.execute("CREATE EXTENSION pg_webhook")
        session.execute("CREATE TABLE items (id int PRIMARY KEY)")
    db.wait_for_worker()
    methods = """
        SELECT DISTINCT m.amname FROM pg_class c JOIN pg_am m ON m.oid = c.relam
        WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 't', 'p')"""
    assert db.rows(methods, "webhook") == [("heap",)] and db.rows(methods, "public") == [("other",)]
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)


def test_a_default_tablespace(own_cluster, make_db, receiver):
    server = own_cluster(allow_in_place_tablespaces="on")
    db = make_db(server, extension=False)
    db.run("CREATE TABLESPACE elsewhere LOCATION ''")
    db.run(f'ALTER DATABASE "{db.name}" SET default_tablespace = elsewhere')
    with db.connect() as session:
        session.execute("CREATE EXTENSION pg_webhook; CREATE TABLE items (id int PRIMARY KEY)")
    db.wait_for_worker()
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    db.run("ALTER TABLE webhook.event_0 SET TABLESPACE pg_default")
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(2)


def test_an_unlogged_table_is_told(db, receiver):
    db.run("CREATE UNLOGGED TABLE items (id int PRIMARY KEY)")
    told = []
    db.connection.add_notice_handler(lambda diagnostic: told.append((diagnostic.severity, diagnostic.message_primary)))
    db.create("hook", receiver.url("/"), table_name="items")
    problem = "table public.items is unlogged: a crash of the server takes its rows, and their events are sent"
    assert told == [("WARNING", problem)]
    [(severity, found, hint)] = about(db, "unlogged")
    assert (severity, found) == ("warning", problem)
    db.run(hint)
    assert not about(db, "unlogged")
    assert db.value("SELECT health FROM webhook.webhooks") == "healthy"


def test_events_of_an_unlogged_table_are_sent_although_a_crash_takes_its_rows(own_cluster, make_db, receiver):
    db = make_db(own_cluster()).hand_over()
    db.run("CREATE UNLOGGED TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("SELECT webhook_pause('hook'); INSERT INTO items VALUES (1), (2)")
    db.cluster.crash()
    db.cluster.start()
    db.connection = db.connect()
    assert db.rows("SELECT id FROM items") == [] and db.statuses() == {"pending": 2}
    db.run("SELECT webhook_resume('hook')")
    receiver.wait(2)
    assert sorted(records(receiver)) == [1, 2]
    db.run("INSERT INTO items VALUES (3)")
    receiver.wait(3)


def test_an_unlogged_partition_is_told(db, receiver):
    db.run("CREATE TABLE items (id int PRIMARY KEY) PARTITION BY LIST (id)")
    db.run("CREATE UNLOGGED TABLE part PARTITION OF items FOR VALUES IN (1)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("CREATE TABLE middle PARTITION OF items FOR VALUES IN (2, 3) PARTITION BY LIST (id)")
    db.run("CREATE UNLOGGED TABLE deep PARTITION OF middle FOR VALUES IN (2)")
    with db.connect(autocommit=False) as other:
        # Who asks does not wait for whoever changes them.
        other.execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
        db.run("SET lock_timeout = '2s'")
        told = about(db, "unlogged")
    assert [severity for severity, _, _ in told] == ["warning", "warning"]
    assert ["public.deep " in problem or "public.part " in problem for _, problem, _ in told] == [True, True]
