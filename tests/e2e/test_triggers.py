"""The triggers of a watched table: who may do what beside them, what becomes of them, and what is said of it."""

import json

import psycopg
import pytest

from harness import wait_until
from harness.status import HEARS_NOTHING, OF_ENDPOINTS

URL = "http://127.0.0.1:9/"
PARENT = """
    CREATE TABLE parted (id int NOT NULL, v text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (100);
"""
NAMES = "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal ORDER BY 1"


@pytest.fixture
def db(db):
    """In the hands of an ordinary role."""
    return db.hand_over()


@pytest.fixture
def roles(db, cluster):
    """A connection for a member (mem) and one for somebody without a level who owns a schema (dev)."""
    of = {}
    for short in ("mem", "dev"):
        name = f"{db.name}_{short}"
        db.judge.run(f"CREATE ROLE {name} LOGIN; CREATE SCHEMA {name} AUTHORIZATION {name}; GRANT USAGE ON SCHEMA {name} TO PUBLIC")
        of[short] = cluster.connect(db.name, user=name)
    db.judge.run("SELECT webhook_grant(%s, 'member')", f"{db.name}_mem")
    yield of
    for short, connection in of.items():
        connection.close()
        db.judge.run(f"DROP OWNED BY {db.name}_{short} CASCADE; DROP ROLE {db.name}_{short}")


@pytest.fixture
def items(db):
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


def captured(db):
    rows = db.rows("SELECT event_type, table_name, payload FROM webhook.deliveries ORDER BY id")
    return [(event, table, json.loads(payload)["record"]) for event, table, payload in rows]


def problems(connection, webhook=None):
    told = connection.execute(f"SELECT problem FROM webhook_check(%s) WHERE NOT {OF_ENDPOINTS}", [webhook])
    return [problem for (problem,) in told.fetchall() if problem != HEARS_NOTHING]


@pytest.mark.parametrize("who", ["super", "mem"])
def test_partitions_are_their_owners_business(db, roles, who):
    """CREATE, ATTACH and DETACH by a table's owner without any level, whoever's the webhook is."""
    dev, whose = roles["dev"], roles.get(who, db.judge.connection)
    schema = f"{db.name}_dev"
    dev.execute(PARENT)
    # PostgreSQL asks for TRIGGER on the partitions that there are, and not on later ones.
    dev.execute(f"GRANT TRIGGER, SELECT ON parted, low TO {db.name}_mem")
    whose.execute("SELECT webhook_create('hook', %s, %s, condition => 'true')", [URL, f"{schema}.parted"])
    dev.execute("CREATE TABLE high PARTITION OF parted FOR VALUES FROM (100) TO (200)")
    dev.execute("CREATE TABLE other (v text, id int NOT NULL); INSERT INTO other VALUES ('before', 200)")
    dev.execute("ALTER TABLE parted ATTACH PARTITION other FOR VALUES FROM (200) TO (300)")
    dev.execute("CREATE TABLE deep PARTITION OF parted FOR VALUES FROM (300) TO (400) PARTITION BY RANGE (id)")
    dev.execute("CREATE TABLE deeper PARTITION OF deep FOR VALUES FROM (300) TO (350)")
    dev.execute("INSERT INTO parted VALUES (1, 'a'), (100, 'b'), (201, 'c'), (301, 'd')")
    dev.execute("ALTER TABLE parted DETACH PARTITION other; INSERT INTO other VALUES ('gone', 202)")
    # One more event, where the webhook's owner has no right on the partitions of now.
    whose.execute("SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    dev.execute("UPDATE parted SET v = 'changed' WHERE id = 100")
    dev.execute("ALTER TABLE parted DETACH PARTITION deep; INSERT INTO deep VALUES (302, 'gone')")
    dev.execute("DROP TABLE high; TRUNCATE parted")
    assert [(event, table, row["id"]) for event, table, row in captured(db.judge)] == [
        ("INSERT", "parted", 1), ("INSERT", "parted", 100), ("INSERT", "parted", 201), ("INSERT", "parted", 301),
        ("UPDATE", "parted", 100),
    ]
    assert dev.execute("SELECT has_schema_privilege('webhook', 'USAGE')").fetchone() == (True,)
    for statement in ("SELECT * FROM webhook.webhooks", "SELECT webhook_check()", "SELECT webhook.worker_status()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            dev.execute(statement)


def test_a_dump_of_one_table_is_inert_elsewhere(items, cluster, make_db):
    """The trigger comes along, with the id of something that is watched in another database."""
    items.create("hook", URL, table_name="items")
    other = make_db(cluster).hand_over()
    other.run("CREATE TABLE watched (id int)")
    other.create("hook", URL, table_name="watched")
    dump = cluster._run("pg_dump", "-h", cluster.folder, "-U", items.owner, "-O", "-t", "items", items.name).stdout
    file = cluster.folder / "table.sql"
    file.write_text(dump)
    done = cluster._run("psql", "-h", cluster.folder, "-U", other.owner, "-v", "ON_ERROR_STOP=1", "-f", file, other.name)
    assert "CREATE TRIGGER" in done.stdout
    other.run("INSERT INTO items VALUES (1, 'a'); UPDATE items SET note = 'b'; DELETE FROM items")
    other.run("INSERT INTO watched VALUES (7)")
    assert captured(other) == [("INSERT", "watched", {"id": 7})]
    assert len([text for text in problems(other.connection) if "belongs to no webhook" in text]) == 3
    assert other.value("SELECT health FROM webhook.webhooks") in ("healthy", "failing")
    other.drop()


def test_a_restored_definition_captures(items, cluster, make_db):
    """Trees are read again by a restore, as whoever restores: the triggers count, and columns are found by name."""
    items.run("ALTER TABLE items ADD gone int; ALTER TABLE items DROP gone; ALTER TABLE items ADD late text")
    items.create("hook", URL, table_name="items", columns=["late"], condition="NEW.note IS DISTINCT FROM 'no'", events=["UPDATE"])
    dump = cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", items.name).stdout
    file = cluster.folder / "all.sql"
    file.write_text(dump)
    other = make_db(cluster, extension=False)
    cluster._run("psql", "-h", cluster.folder, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-f", file, other.name)
    other.run("SELECT webhook_rotate_secret(uuid::text) FROM webhook.webhook")
    with cluster.connect(other.name, user=items.owner) as owner:
        owner.execute("INSERT INTO items VALUES (1, 'a'), (2, 'no'); UPDATE items SET note = note || '!' WHERE id = 1; UPDATE items SET late = 'x'")
        assert problems(owner) == ["unarmed: the webhook came with a dump of another database"]
        assert [row["id"] for _, _, row in captured(other)] == [1]
        # Armed, they count as they are: a WHEN of somebody else's is no longer taken for what came along.
        other.run("SELECT webhook_arm()")
        owner.execute("UPDATE items SET late = 'y' WHERE id = 1")
        name, watch = other.value(NAMES, "items"), other.value("SELECT id FROM webhook.watch")
        owner.execute(f"CREATE OR REPLACE TRIGGER \"{name}\" AFTER UPDATE ON items FOR EACH ROW WHEN (true) EXECUTE FUNCTION webhook.capture('{watch}')")
        owner.execute("UPDATE items SET late = 'z'")
        other.run("SELECT webhook_arm()")
        owner.execute("UPDATE items SET late = 'zz'")
    assert [row["id"] for _, _, row in captured(other)] == [1, 1]
    other.drop()


def test_columns_are_tied_to_the_trigger(items):
    """DROP COLUMN and a change of type are refused, as for a column in WHEN; other columns are free."""
    items.create("hook", URL, table_name="items", events=["UPDATE"], columns=["note"])
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        items.run("ALTER TABLE items DROP note")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        items.run("ALTER TABLE items ALTER note TYPE varchar(9)")
    items.run("SELECT webhook_update('hook', columns => '{id}')")
    items.run("ALTER TABLE items ALTER note TYPE varchar(9)")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        items.run("ALTER TABLE items DROP id")
    items.run("SELECT webhook_update('hook', condition => 'NEW.note IS NOT NULL', columns => '{}')")
    items.run("ALTER TABLE items DROP id")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        items.run("ALTER TABLE items DROP note")
    items.run("ALTER TABLE items DROP note CASCADE")
    assert problems(items.connection) == ["the trigger for UPDATE on public.items is missing"]


def test_how_triggers_fire_survives_every_change(items):
    """ENABLE ALWAYS, ENABLE REPLICA and DISABLE, of partitions too."""
    items.run(PARENT + "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (100) TO (200)")
    items.create("hook", URL, table_name="parted", events=["INSERT", "UPDATE"])
    [insert, update] = [name for (name,) in items.rows(NAMES, "parted")]
    items.run(f'ALTER TABLE parted ENABLE ALWAYS TRIGGER "{insert}"; ALTER TABLE parted ENABLE REPLICA TRIGGER "{update}"')
    items.run(f'ALTER TABLE high DISABLE TRIGGER "{insert}"')
    firing = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure ORDER BY 1, 2"
    before = items.rows(firing)
    assert {enabled for _, _, enabled in before} == {"A", "R", "D"}
    for statement in (
        "condition => 'NEW.id > 0'", "condition => 'NEW.id > 1'", "condition => ''", "url => 'http://127.0.0.1:9/x'",
        "columns => '{id}'", "columns => '{}'", "events => '{INSERT,UPDATE}'", "payload_columns => '{id}'",
        "events => '{INSERT,UPDATE,TRUNCATE}'", "events => '{INSERT,UPDATE}'",
    ):
        items.run(f"SELECT webhook_update('hook', {statement})")
        assert items.rows(firing)[:1] and [row for row in items.rows(firing) if "truncate" not in row[1]] == before, statement
    for arguments in ("", "new => true"):
        items.judge.run(f"SELECT webhook_arm({arguments})")
        assert items.rows(firing) == before


@pytest.mark.parametrize("condition", [None, "NEW.id > 0"])
def test_a_further_event_fires_as_the_others_do(items, condition):
    """Where all are ENABLE ALWAYS, as on a subscriber."""
    items.create("hook", URL, table_name="items", events=["INSERT"], condition=condition)
    items.run("ALTER TABLE items ENABLE ALWAYS TRIGGER \"" + items.value(NAMES, "items") + '"')
    items.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    assert items.rows("SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'items'::regclass") == [("A",), ("A",)]
    items.judge.run(f"GRANT SET ON PARAMETER session_replication_role TO {items.owner}")
    items.run("SET session_replication_role = replica; INSERT INTO items VALUES (1, 'a'); UPDATE items SET note = 'b'")
    assert [event for event, _, _ in captured(items)] == ["INSERT", "UPDATE"]


@pytest.mark.parametrize("condition, events, fits", [
    ("NEW.id > 0", "{INSERT,UPDATE}", True), ("NEW.id > 0", "{INSERT,DELETE}", False), ("NEW.id > 0", "{INSERT,TRUNCATE}", False),
    ("current_setting('x.y', true) IS NULL", "{INSERT,UPDATE,DELETE,TRUNCATE}", True), ("NEW IS NOT NULL", "{INSERT,DELETE}", False),
])
def test_a_further_event_has_the_condition_of_the_others(items, condition, events, fits):
    """From the tree that is there, if it looks at no row that the event does not have."""
    items.create("hook", URL, table_name="items", events=["INSERT"], condition=condition)
    change = f"SELECT webhook_update('hook', events => '{events}')"
    if not fits:
        with pytest.raises(psycopg.Error) as caught:
            items.run(change)
        assert caught.value.diag.sqlstate == "42P17"
        assert "each event of the list" in caught.value.diag.message_hint
        return
    items.run(change)
    items.run("INSERT INTO items VALUES (1, 'a'), (0, 'b'); UPDATE items SET note = 'c'; DELETE FROM items WHERE id = 1; TRUNCATE items")
    expected = ["INSERT", "UPDATE"] if "NEW" in condition else ["INSERT"] * 2 + ["UPDATE"] * 2 + ["DELETE", "TRUNCATE"]
    assert [event for event, _, _ in captured(items)] == expected
    depends = "SELECT count(*) FROM pg_depend WHERE objid IN (SELECT oid FROM pg_trigger WHERE tgrelid = 'items'::regclass) AND deptype = 'x'"
    assert items.value(depends) == len(events.split(","))
    items.judge.run("DROP EXTENSION pg_webhook")
    assert items.rows(NAMES, "items") == []


def test_a_condition_without_a_trigger_is_to_be_given_again(items):
    items.create("hook", URL, table_name="items", events=["INSERT"], condition="NEW.id > 0")
    items.run("DROP TRIGGER \"" + items.value(NAMES, "items") + '" ON items')
    assert problems(items.connection, "hook") == ["the trigger for INSERT on public.items is missing"]
    assert items.value("SELECT health FROM webhook.webhooks") == "broken"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        items.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    assert "Give it again" in caught.value.diag.message_hint
    items.run("CREATE TABLE second (id int)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        items.run("SELECT webhook_update('hook', table_name => 'second')")
    assert "rows of public.items" in caught.value.diag.message_primary
    items.run("SELECT webhook_update('hook', condition => 'NEW.id > 0')")
    items.run("INSERT INTO items VALUES (1, 'a'), (0, 'b')")
    assert len(captured(items)) == 1 and problems(items.connection) == []


@pytest.mark.parametrize("change", [
    "webhook_update('hook', url => 'http://127.0.0.1:9/x', headers => '{}', enabled => true)",
    "webhook_update('hook', columns => '{id}')", "webhook_update('hook', payload_columns => '{id}')",
    "webhook_update('hook', events => '{INSERT,UPDATE}')", "webhook_pause('hook')", "webhook_preview('hook', 'INSERT', '{\"id\": 1}')",
    "webhook_check('hook')",
])
def test_what_changes_no_trigger_takes_no_lock(items, change):
    """Not even beside somebody who has the table for itself; a preview, and columns to which a trigger is tied, take what a
    SELECT takes."""
    items.create("hook", URL, table_name="items", events=["INSERT", "UPDATE"], condition="NEW.id > 0")
    mode = "EXCLUSIVE" if "preview" in change or "columns => '{id}'" in change else "ACCESS EXCLUSIVE"
    with items.connect() as other, other.transaction():
        other.execute(f"LOCK TABLE items IN {mode} MODE")
        items.run("SET lock_timeout = '500ms'")
        items.run(f"SELECT {change}")


@pytest.mark.parametrize("change", [
    "webhook_unwatch('hook', 'items')", "webhook_delete('hook')", "webhook_update('hook', events => '{UPDATE}')",
    "webhook_update('hook', table_name => 'second', condition => '')",
])
def test_triggers_of_a_table_in_use_stay_for_now_and_do_nothing(items, change):
    """Removal does not wait longer than its two seconds, nor fail; the worker does it later."""
    items.run("CREATE TABLE second (id int)")
    items.create("hook", URL, table_name="items", events=["INSERT", "UPDATE"], condition="NEW.id > 0")
    notices = []
    items.connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    with items.connect() as other, other.transaction():
        other.execute("INSERT INTO items VALUES (1, 'a')")
        items.run(f"SELECT {change}")
        assert len(notices) == 1 and "do nothing any more" in notices[0]
        other.execute("INSERT INTO items VALUES (2, 'b')")
        left = [text for text in problems(items.connection) if "belongs to no webhook" in text]
        assert len(left) == (1 if "events" in change else 2)
    assert [row["id"] for _, _, row in captured(items)] == [1]
    wait_until(lambda: problems(items.connection) == [], "the worker to drop them")
    if "events" in change:
        items.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
        items.run("INSERT INTO items VALUES (3, 'c')")
        assert [row["id"] for _, _, row in captured(items)] == [1, 3]


def test_a_cursor_of_ones_own_is_no_obstacle(items):
    items.create("hook", URL, table_name="items")
    with items.connection.transaction():
        items.run("DECLARE c CURSOR FOR SELECT * FROM items")
        items.run("SELECT webhook_delete('hook')")
        items.run("INSERT INTO items VALUES (1, 'a')")
    assert captured(items) == []


def test_removal_takes_no_right_on_the_table(db, roles):
    """A member whose rights have been revoked: the worker drops what it leaves."""
    dev, mem = roles["dev"], roles["mem"]
    table = f"{db.name}_dev.t"
    dev.execute(f"CREATE TABLE t (id int); GRANT TRIGGER, SELECT ON t TO {db.name}_mem")
    mem.execute("SELECT webhook_create('hook', %s, %s, '{INSERT,DELETE}')", [URL, table])
    dev.execute(f"REVOKE ALL ON t FROM {db.name}_mem")
    mem.execute("SELECT webhook_delete('hook')")
    wait_until(lambda: db.judge.rows(NAMES, table) == [], "the worker has not removed the triggers")


def test_a_dropped_table_is_said_to_be_gone(items):
    """Until it is watched again under its number, or no longer."""
    items.create("hook", URL, table_name="items", events=["INSERT"])
    items.run("DROP TABLE items; CREATE TABLE items (id int)")
    reason = "table public.items has been dropped, and another one has its name"
    assert problems(items.connection) == [reason]
    assert items.rows("SELECT health, health_reason FROM webhook.webhooks") == [("broken", reason)]
    items.run("SELECT webhook_watch('hook', 'items', '{INSERT}')")
    assert problems(items.connection) == []
    items.run("INSERT INTO items VALUES (1)")
    assert len(captured(items)) == 1
    items.run("DROP TABLE items")
    [(hint,)] = items.rows(f"SELECT hint FROM webhook_check() WHERE NOT {OF_ENDPOINTS}")
    items.run(hint[hint.index("SELECT"):].rstrip("."))
    assert problems(items.connection) == []


def test_each_cause_is_named(items):
    """A trigger disabled, renamed, dropped: the hint undoes it. Another session sees at once that the webhook is broken."""
    items.create("hook", URL, table_name="items", events=["INSERT", "UPDATE", "DELETE"])
    [delete, insert, update] = [name for (name,) in items.rows(NAMES, "items")]
    with items.connect() as other:
        def health():
            return other.execute("SELECT health, health_reason FROM webhook.webhooks").fetchone()

        assert health() == ("healthy", None)
        items.run(f'ALTER TABLE items DISABLE TRIGGER "{insert}"')
        disabled = "the trigger for INSERT on public.items is disabled"
        assert health() == ("broken", disabled)
        items.run(f'ALTER TRIGGER "{update}" ON items RENAME TO x')
        renamed = "the trigger for UPDATE on public.items has been renamed"
        assert problems(items.connection) == [disabled, renamed]
        assert items.value("SELECT tables -> 'public.items' -> 'events' FROM webhook.webhooks") == ["DELETE"]
        enable, rename = [hint for (hint,) in items.rows(f"SELECT hint FROM webhook_check() WHERE NOT {OF_ENDPOINTS}")]
        items.run(enable)
        assert health() == ("broken", renamed)
        items.run(rename)
        assert problems(items.connection) == [] and health() == ("healthy", None)
        items.run(f'DROP TRIGGER "{delete}" ON items')
        missing = "the trigger for DELETE on public.items is missing"
        assert problems(items.connection) == [missing] and health() == ("broken", missing)
        items.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE,DELETE}')")
        assert problems(items.connection) == [] and health() == ("healthy", None)
    with pytest.raises(psycopg.errors.UndefinedObject):
        items.run("SELECT * FROM webhook_check('unknown')")


def test_checks_show_what_one_may_see(db, roles):
    mem = roles["mem"]
    db.run("CREATE TABLE ours (id int)")
    db.create("ours", URL, table_name="ours", events=["INSERT"])
    db.run("DROP TRIGGER \"" + db.value(NAMES, "ours") + '" ON ours')
    assert problems(mem) == [] and len(problems(db.connection)) == 1
    with pytest.raises(psycopg.errors.UndefinedObject):
        problems(mem, "ours")


@pytest.mark.parametrize("column, quiet, loud", [
    ("n numeric", "43.0", "44"), ("j json", "'{\"a\": 1}'", "'{\"a\":1}'"), ("i interval", "'24 hours'", "'25 hours'"),
    ("t text COLLATE \"C\"", "'a'", "'b'"), ("a numeric[]", "'{1.0}'", "'{2}'"), ("x xml", "'<a/>'", "'<b/>'"),
    ("f float8", "'-0'", "'NaN'"), ("p point", "'(0,1)'", "'(0,2)'"),
])
def test_columns_of_each_kind_of_type(db, column, quiet, loud):
    """An equality that lasts decides, or else the image; NULL is a value like others."""
    name = column.split()[0]
    first = {"n": "43", "j": "'{\"a\": 1}'", "i": "'1 day'", "t": "'a'", "a": "'{1}'", "x": "'<a/>'", "f": "0", "p": "'(0,1)'"}[name]
    db.run(f"CREATE TABLE items (id int, other int, {column})")
    db.create("hook", URL, table_name="items", events=["UPDATE"], columns=[name])
    db.run(f"INSERT INTO items VALUES (1, 1, {first})")
    db.run(f"UPDATE items SET {name} = {quiet}, other = other + 1")
    assert captured(db) == []
    db.run(f"UPDATE items SET {name} = {loud}")
    db.run(f"UPDATE items SET {name} = NULL, other = 5; UPDATE items SET {name} = NULL, other = 6; UPDATE items SET {name} = {first}")
    assert len(captured(db)) == 3


def test_preview_and_trigger_agree(db):
    """On the condition, the columns, what is sent and in which order."""
    db.run("CREATE TABLE items (id int, note text, n numeric, j json)")
    db.create("hook", URL, table_name="items", columns=["n", "j"], condition="NEW.note <> 'no' AND (OLD IS DISTINCT FROM NEW OR true)",
              events=["UPDATE"], payload_columns=["n", "id"])
    old = {"id": 1, "note": "a", "n": 1, "j": {"k": 1}}
    changes = [{"n": 2}, {"n": 1.0}, {"note": "b"}, {"j": {"k": 2}}, {"n": None}, {"note": "no", "n": 3}, {"id": 2, "n": 7}]
    for change in changes:
        new = old | change
        db.run("TRUNCATE items")
        db.run("INSERT INTO items SELECT * FROM jsonb_populate_record(NULL::items, %s)", json.dumps(old))
        before = len(captured(db))
        db.run("UPDATE items SET (id, note, n, j) = (SELECT id, note, n, j FROM jsonb_populate_record(NULL::items, %s))", json.dumps(new))
        made = captured(db)[before:]
        [(body, reason)] = db.rows("SELECT body, reason FROM webhook_preview('hook', 'UPDATE', %s, %s)", json.dumps(new), json.dumps(old))
        assert (body is None) == (made == []), change
        if body:
            assert json.loads(body)["record"] == made[0][2]
        else:
            assert reason


def test_a_preview_says_what_is_wrong_with_the_trigger(items):
    items.create("hook", URL, table_name="items", events=["INSERT"])
    name = items.value(NAMES, "items")
    reason = lambda: items.value("SELECT reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')")
    assert reason() is None
    items.run(f'ALTER TABLE items DISABLE TRIGGER "{name}"')
    assert "disabled" in reason()
    items.run(f'ALTER TABLE items ENABLE TRIGGER "{name}"')
    watch = items.judge.value("SELECT id FROM webhook.watch")
    items.run(f"CREATE OR REPLACE TRIGGER \"{name}\" AFTER INSERT ON items FOR EACH ROW WHEN (true) EXECUTE FUNCTION webhook.capture('{watch}')")
    assert "not the one that was made" in reason()
    items.run(f'DROP TRIGGER "{name}" ON items')
    assert "missing" in reason()


def test_a_cached_decision_ends_with_what_it_was_about(items):
    """In a session that goes on writing, and within its transaction."""
    items.create("hook", URL, table_name="items", events=["INSERT"])
    with items.connect() as writer:
        writer.execute("INSERT INTO items VALUES (1, 'a')")
        name, watch = items.value(NAMES, "items"), items.judge.value("SELECT id FROM webhook.watch")
        replace = f"CREATE OR REPLACE TRIGGER \"{name}\" AFTER INSERT ON items FOR EACH ROW {{}} EXECUTE FUNCTION webhook.capture('{watch}')"
        items.run(replace.format("WHEN (true)"))
        writer.execute("INSERT INTO items VALUES (2, 'b')")
        items.run(replace.format(""))
        writer.execute("INSERT INTO items VALUES (3, 'c')")
        with writer.transaction(force_rollback=True):
            writer.execute("SELECT webhook_unwatch('hook', 'items')")
            writer.execute("INSERT INTO items VALUES (4, 'd')")
        writer.execute("INSERT INTO items VALUES (5, 'e')")
    assert [row["id"] for _, _, row in captured(items)] == [1, 3, 5]


def test_a_trigger_that_is_disabled_below_is_named(db, people):
    """On one partition, on one of a partition, and on a table with a copy: none of their changes would be an event."""
    owner = people("own", "member")
    owner.run(PARENT + """
        CREATE TABLE deep PARTITION OF parted FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
        CREATE TABLE deeper PARTITION OF deep FOR VALUES FROM (100) TO (150);
    """)
    owner.run("SELECT webhook_create('hook', %s, 'parted', '{INSERT,UPDATE}')", URL)
    update = owner.rows(NAMES, "parted")[1][0]
    for table in ("low", "deeper"):
        owner.run(f'ALTER TABLE {table} DISABLE TRIGGER "{update}"')
        reason = f"the trigger for UPDATE on {owner.role}.{table} is disabled"
        assert problems(owner.connection) == [reason]
        assert owner.rows("SELECT health, health_reason FROM webhook.webhooks") == [("broken", reason)]
        owner.run("INSERT INTO parted VALUES (1, 'a'), (101, 'a')")
        owner.run("UPDATE parted SET v = 'b'; DELETE FROM parted")
        [(hint,)] = owner.rows(f"SELECT hint FROM webhook_check() WHERE NOT {OF_ENDPOINTS}")
        owner.run(hint)
        assert problems(owner.connection) == []
    assert [(event, row["id"]) for event, _, row in captured(db.judge)] == [
        ("INSERT", 1), ("INSERT", 101), ("UPDATE", 101), ("INSERT", 1), ("INSERT", 101), ("UPDATE", 1),
    ]


def test_a_trigger_that_fires_in_a_replica_only_is_named(db, people):
    """Somebody may want it, so that the webhook is not broken; but what is written here is no event."""
    owner = people("own", "member")
    owner.run(PARENT)
    owner.run("SELECT webhook_create('hook', %s, 'parted', '{INSERT}')", URL)
    [(name,)] = owner.rows(NAMES, "parted")
    for table in ("parted", "low"):
        owner.run(f'ALTER TABLE ONLY {table} ENABLE REPLICA TRIGGER "{name}"')
        said = f"the trigger for INSERT on {owner.role}.{table} fires with session_replication_role = replica only"
        assert owner.rows(f"SELECT severity, problem FROM webhook_check() WHERE NOT {OF_ENDPOINTS}") == [("warning", said)]
        reason = owner.value("SELECT reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')")
        assert reason == (said if table == "parted" else None)
        assert owner.value("SELECT health FROM webhook.webhooks") == "healthy"
        [(hint,)] = owner.rows(f"SELECT hint FROM webhook_check() WHERE NOT {OF_ENDPOINTS}")
        owner.run(hint)
        assert problems(owner.connection) == []
