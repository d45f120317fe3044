"""Data definition around webhooks: tables that are replaced, schemas that are dropped, event triggers that refuse, and our
own tables changed from outside."""

import json
import pathlib

import psycopg
import pytest

from harness import wait_until
from harness.ring import turn
from harness.status import OF_ENDPOINTS
from test_readme import statements

URL = "http://127.0.0.1:9/"
README = pathlib.Path(__file__).parents[2] / "README.md"


@pytest.fixture
def mine(db):
    """In the hands of an ordinary role, with a webhook that watches its table narrowly."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text, secret text)")
    db.create("hook", URL, table_name="items", events=["INSERT", "UPDATE"], columns=["note"], condition="NEW.id > 0",
              payload_columns=["id", "note"])
    return db


def health(db):
    return db.rows("SELECT health, health_reason FROM webhook.webhooks")[0]


def check(db):
    return db.rows(f"SELECT severity, problem, hint FROM webhook_check() WHERE NOT {OF_ENDPOINTS} ORDER BY problem")


def records(db):
    return [json.loads(payload)["record"] for (payload,) in db.rows("SELECT payload FROM webhook.deliveries ORDER BY id")]


def watched(db):
    return db.value("SELECT tables FROM webhook.webhooks")


# --- tables that are replaced --------------------------------------------------------------------------

ANOTHER = "CREATE TABLE {} (id int PRIMARY KEY, note text, secret text)"
REPLACED = {
    "dropped and created": ["DROP TABLE items", ANOTHER.format("items")],
    "in one transaction": ["BEGIN; DROP TABLE items; " + ANOTHER.format("items") + "; COMMIT"],
    "swapped": ["BEGIN; " + ANOTHER.format("new") + "; ALTER TABLE items RENAME TO old; ALTER TABLE new RENAME TO items; COMMIT"],
    "swapped and dropped": [ANOTHER.format("new"), "ALTER TABLE items RENAME TO old", "ALTER TABLE new RENAME TO items", "DROP TABLE old"],
    "partitioned": [
        "BEGIN; ALTER TABLE items RENAME TO old; ALTER INDEX items_pkey RENAME TO old_pkey;"
        + ANOTHER.format("items") + " PARTITION BY RANGE (id);"
        "ALTER TABLE items ATTACH PARTITION old FOR VALUES FROM (0) TO (100); COMMIT",
    ],
    "in another schema": ["CREATE SCHEMA was", "ALTER TABLE items SET SCHEMA was", ANOTHER.format("items")],
}


@pytest.mark.parametrize("how", REPLACED)
def test_a_table_that_another_one_replaces(mine, how):
    """It is told in the next statement, and the hint watches the other one as the first one was."""
    before = watched(mine)["public.items"]
    for statement in REPLACED[how]:
        mine.run(statement)
    [(severity, problem, hint)] = check(mine)
    assert severity == "error" and "another one has its name" in problem
    assert health(mine) == ("broken", problem)
    mine.run(hint[:hint.index(" watches that one")])
    assert watched(mine)["public.items"] == before
    mine.run("INSERT INTO items VALUES (0, 'no', 'x'), (1, 'yes', 'x')")
    assert records(mine) == [{"id": 1, "note": "yes"}]
    assert check(mine) == []
    assert health(mine)[0] != "broken"


@pytest.mark.parametrize("how", ["dropped and created", "swapped"])
def test_a_condition_is_in_no_hint_for_others(mine, how):
    """Whoever ran it would bring the condition, and what it calls: a superuser anything."""
    for statement in REPLACED[how]:
        mine.run(statement)
    [(_, problem, hint)] = check(mine)
    assert "condition => 'NEW.id > 0'" in hint
    [(_, told, others)] = mine.judge.rows("SELECT severity, problem, hint FROM webhook_check('hook')")
    assert told == problem and "NEW.id" not in others and "webhook_watch(" not in others
    assert f"Role {mine.owner}, to whom the webhook belongs" in others
    if how == "swapped":
        mine.run("SELECT webhook_update('hook', condition => '')")
        [(_, _, hint)] = check(mine)
        assert mine.judge.value("SELECT hint FROM webhook_check('hook')") == hint, "without a condition it does no harm"


def test_a_table_of_somebody_elses_breaks_nothing(mine):
    """Whoever may create one in the schema can give it a name that a watched one had."""
    mine.run("ALTER TABLE items RENAME TO sales")
    mine.judge.run("CREATE ROLE squatter; GRANT CREATE ON SCHEMA public TO squatter")
    mine.judge.run("SET ROLE squatter; CREATE TABLE items (id int PRIMARY KEY, note text); RESET ROLE")
    [(severity, problem, hint)] = check(mine)
    assert severity == "warning" and "another one has its name" in problem
    assert "webhook_watch" not in hint, "whoever ran it would bring the condition to a table that the owner has no right on"
    assert health(mine) == ("healthy", None)
    mine.run("INSERT INTO sales VALUES (1, 'a', 'x')")
    assert records(mine) == [{"id": 1, "note": "a"}]
    mine.judge.run("DROP OWNED BY squatter; DROP ROLE squatter")


def test_a_table_is_replaced_after_its_columns_were_renamed(mine):
    mine.run("SELECT webhook_update('hook', condition => '')")
    mine.run("ALTER TABLE items RENAME note TO remark")
    mine.run(REPLACED["swapped"][0].replace("note", "remark"))
    [(_, _, hint)] = check(mine)
    mine.run(hint[:hint.index(" watches that one")])
    mine.run("INSERT INTO items VALUES (1, 'a', 'x'); UPDATE items SET remark = 'b'; UPDATE items SET secret = 'y'")
    assert records(mine) == [{"id": 1, "remark": "a"}, {"id": 1, "remark": "b"}]


def test_a_swapped_table_may_stay_the_watched_one(mine):
    mine.run(REPLACED["swapped"][0])
    mine.run("SELECT webhook_update('hook', columns => '{}')")
    assert health(mine)[0] == "broken"
    mine.run("SELECT webhook_update('hook', table_name => 'old')")
    assert check(mine) == [] and health(mine)[0] != "broken"
    mine.run("INSERT INTO old VALUES (1, 'a', 'x'); INSERT INTO items VALUES (2, 'b', 'x')")
    assert records(mine) == [{"id": 1, "note": "a"}]


def test_the_old_table_goes_after_the_new_one_is_watched(mine):
    mine.run(REPLACED["swapped"][0])
    mine.run("SELECT webhook_watch('hook', 'items')")
    mine.run("DROP TABLE old")
    assert check(mine) == [] and health(mine)[0] != "broken"


def test_a_new_table_in_the_place_of_a_dropped_one_is_watched_as_narrowly(mine):
    """What is left out stays as it is, the columns that are sent among it; a condition was one over rows of the other one."""
    mine.run(REPLACED["dropped and created"][0] + ";" + REPLACED["dropped and created"][1])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        mine.run("SELECT webhook_update('hook', table_name => 'items')")
    assert "Give it again" in caught.value.diag.message_hint
    mine.run("SELECT webhook_update('hook', table_name => 'items', condition => '')")
    assert watched(mine) == {"public.items": {"events": ["INSERT", "UPDATE"], "columns": ["note"], "payload_columns": ["id", "note"]}}
    mine.run("INSERT INTO items VALUES (1, 'a', 'x')")
    assert records(mine) == [{"id": 1, "note": "a"}]


# --- our own tables ------------------------------------------------------------------------------------

MOVED = {
    "ALTER TABLE webhook.event_0 SET ACCESS METHOD another": ("error", "table webhook.event_0 is not stored as a heap"),
    "ALTER TABLE webhook.health SET UNLOGGED": ("error", "table webhook.health is unlogged"),
    "ALTER TABLE webhook.pending OWNER TO {role}":
        ("warning", "table webhook.pending belongs to role {role}, and schema webhook to role postgres"),
}


@pytest.mark.parametrize("statement", MOVED)
def test_a_table_of_ours_that_somebody_has_changed(db, people, statement):
    role = people("dba").role
    db.run("CREATE ACCESS METHOD another TYPE TABLE HANDLER heap_tableam_handler")
    db.run(statement.format(role=role))
    [(severity, problem, hint)] = check(db)
    assert (severity, problem) == (MOVED[statement][0], MOVED[statement][1].format(role=role))
    db.run(hint[hint.index("ALTER TABLE"):])
    assert check(db) == []


def refused(session, statement):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        session.run(statement)
    return caught.value.diag.message_primary, caught.value.diag.message_hint


def test_a_renamed_schema_is_told_and_renamed_back(db, people, receiver):
    """No writer of a watched table can do anything about it, and so is told what to ask for."""
    writer = people("writes")
    db.run(f"CREATE TABLE items (id int); GRANT INSERT ON items TO {writer.role}")
    db.create("hook", receiver.url("/"), table_name="items")
    writer.run("INSERT INTO items VALUES (1)")
    db.run("ALTER SCHEMA webhook RENAME TO hooks")
    for who, statement in ((writer, "INSERT INTO items VALUES (2)"), (db, "SELECT webhook_check()"), (db, "SELECT webhook_pause('hook')")):
        message, hint = refused(who, statement)
        assert message == "schema webhook, in which pg_webhook keeps what it has, is not there" and "ALTER SCHEMA ... RENAME TO webhook" in hint
    # Another one of that name is not taken for it.
    db.run("CREATE SCHEMA webhook")
    refused(writer, "INSERT INTO items VALUES (2)")
    db.run("DROP SCHEMA webhook; ALTER SCHEMA hooks RENAME TO webhook")
    writer.run("INSERT INTO items VALUES (3)")
    db.wait_for_status(2)
    assert check(db) == []


def test_the_extension_does_not_change_its_schema(db):
    """Nor does what is in schema webhook: PostgreSQL refuses that itself."""
    db.run("CREATE SCHEMA elsewhere")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match='extension "pg_webhook" does not support SET SCHEMA'):
        db.run("ALTER EXTENSION pg_webhook SET SCHEMA elsewhere")
    assert check(db) == []


def test_a_schema_that_is_given_away_alone_is_told_and_given_back(db, people, receiver):
    """Also where the new owner reads some of the tables, as the owner of the database does, and whoever does something."""
    writer, boss = people("writes"), people("owns")
    db.run(f"CREATE TABLE items (id int); GRANT INSERT ON items TO {writer.role}")
    db.create("hook", receiver.url("/"), table_name="items")
    writer.run("INSERT INTO items VALUES (1)")
    db.run(f'ALTER DATABASE "{db.name}" OWNER TO {boss.role}; ALTER SCHEMA webhook OWNER TO {boss.role}')
    for who, statement in ((writer, "INSERT INTO items VALUES (2)"), (db, "SELECT webhook_check()"), (db, "SELECT webhook_pause('hook')")):
        message, hint = refused(who, statement)
        assert message == f'schema webhook belongs to role "{boss.role}", and the tables of pg_webhook in it to role "postgres"'
        assert "ALTER SCHEMA webhook OWNER TO" in hint
    db.run(f'ALTER SCHEMA webhook OWNER TO postgres; ALTER DATABASE "{db.name}" OWNER TO postgres')
    writer.run("INSERT INTO items VALUES (3)")
    db.wait_for_status(2)
    assert check(db) == []


def test_all_of_ours_may_go_to_another_role(db, people, receiver):
    """And the schema may not go alone: what we do has the rights of its owner."""
    role = people("new").role
    owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'webhook'::regnamespace AND relkind IN ('r', 'p', 'v')"
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run(f"ALTER SCHEMA webhook OWNER TO {role}")
    refused(db, "INSERT INTO items VALUES (1)")
    db.run("ALTER SCHEMA webhook OWNER TO postgres")
    for kind in ("TABLE", "VIEW"):
        db.run(f"""
            DO $$
            DECLARE
                c regclass;
            BEGIN
                FOR c IN SELECT oid FROM pg_class WHERE relnamespace = 'webhook'::regnamespace
                    AND relkind::text = ANY ('{dict(TABLE="{r,p}", VIEW="{v}")[kind]}')
                LOOP
                    EXECUTE format('ALTER {kind} %s OWNER TO {role}', c);
                END LOOP;
            END $$""")
        db.run("INSERT INTO items VALUES (2)")
    db.run(f"ALTER SCHEMA webhook OWNER TO {role}")
    assert db.rows(owners) == [(role,)]
    db.run("INSERT INTO items VALUES (3)")
    # What the worker does when definitions have changed calls one of them.
    db.run("SELECT webhook_update('hook', description => 'changed')")
    # Those of functions; by then the worker may fail, too.
    left = [row for row in check(db) if "belongs to role" in row[1]]
    assert left and {severity for severity, _, _ in left} == {"error"}
    assert ("function webhook.queue_time() belongs to role postgres, and schema webhook to role " + role
            + ", which may not call it") in [problem for _, problem, _ in left]
    wait_until(lambda: "queue_time" in (db.value("SELECT last_error FROM webhook.worker") or ""), "the worker to say so")
    db.run(";".join(hint[hint.index("ALTER FUNCTION"):] for _, _, hint in left))
    db.wait_for_status(3)
    # After an error the worker pauses before it tries again.
    wait_until(lambda: check(db) == [], lambda: f"nothing to be wrong: {check(db)}")
    db.run(f"REASSIGN OWNED BY {role} TO postgres")
    db.run("INSERT INTO items VALUES (4)")
    db.wait_for_status(4)


def test_watched_tables_move_as_they_like(db, receiver):
    db.run("CREATE ACCESS METHOD another TYPE TABLE HANDLER heap_tableam_handler")
    db.run("CREATE TABLE items (id int PRIMARY KEY) USING another")
    db.create("hook", receiver.url("/"), table_name="items", events=["INSERT"])
    db.run("INSERT INTO items VALUES (1); ALTER TABLE items SET ACCESS METHOD heap")
    db.run("INSERT INTO items VALUES (2); ALTER TABLE items SET UNLOGGED")
    assert [severity for severity, problem, _ in check(db) if "unlogged" in problem] == ["warning"]
    db.run("INSERT INTO items VALUES (3); ALTER TABLE items SET LOGGED; INSERT INTO items VALUES (4)")
    assert len(records(db)) == 4 and check(db) == []


def test_a_watched_table_and_a_partition_move_to_another_tablespace(own_cluster, make_db, receiver):
    """In a session that has written to them before, and for one that has not."""
    db = make_db(own_cluster(allow_in_place_tablespaces="on")).hand_over()
    db.judge.run("CREATE TABLESPACE elsewhere LOCATION ''")
    db.judge.run(f"GRANT CREATE ON TABLESPACE elsewhere TO {db.owner}")
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text); CREATE TABLE parted (id int, note text) PARTITION BY RANGE (id)")
    db.run("CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (100)")
    for table in ("items", "parted"):
        db.create(table, receiver.url("/"), table_name=table, events=["INSERT", "UPDATE"], columns=["note"], condition="NEW.id > 0")
        db.run(f"INSERT INTO {table} VALUES (0, 'a'), (1, 'a')")
    db.run("ALTER TABLE items SET TABLESPACE elsewhere; ALTER INDEX items_pkey SET TABLESPACE elsewhere")
    db.run("ALTER TABLE low SET TABLESPACE elsewhere; ALTER TABLE parted SET TABLESPACE elsewhere")
    db.run("CREATE TABLE high PARTITION OF parted FOR VALUES FROM (100) TO (200)")
    moved = "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class AS c JOIN pg_tablespace AS t ON t.oid = c.reltablespace WHERE spcname = 'elsewhere' AND relnamespace = 'public'::regnamespace"
    assert db.value(moved) == ["high", "items", "items_pkey", "low", "parted"]
    db.run("INSERT INTO items VALUES (2, 'b'); INSERT INTO parted VALUES (2, 'b'), (102, 'b')")
    with db.connect() as other:
        other.execute("UPDATE items SET note = 'c' WHERE id IN (0, 1); UPDATE items SET note = note")
        other.execute("UPDATE parted SET note = 'c' WHERE id = 102; UPDATE low SET note = note")
    db.wait_for_status(3, webhook="items")
    db.wait_for_status(4, webhook="parted")
    assert check(db) == []


# --- schemas -------------------------------------------------------------------------------------------


@pytest.fixture
def installed(cluster, make_db):
    """A database in which README's statements were run: the functions are in schema hooks."""
    [block] = [block for block in README.read_text().split("```") if "CREATE EXTENSION pg_webhook SCHEMA" in block]
    db = make_db(cluster, extension=False)
    for statement in statements(block.removeprefix("sql\n")):
        db.run(statement)
    db.run(f'ALTER DATABASE "{db.name}" SET search_path = public, hooks')
    db.connection.close()
    db.connection = cluster.connect(db.name)
    db.wait_for_worker()
    db.hand_over()
    yield db
    db.drop()


def test_a_schema_that_is_dropped_takes_no_webhook_along(installed, receiver):
    """Installed as README says; its functions are found as they were, by who has a level as well."""
    db = installed
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.judge.run(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {db.owner}")
    assert health(db) == ("broken", "table public.items has been dropped")
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.run("SELECT webhook_update('hook', table_name => 'items')")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    assert check(db) == []


def test_a_schema_that_is_dropped_with_the_extension(cluster, make_db, receiver):
    """Nothing is half left, and it can be created again."""
    db = make_db(cluster)
    db.run(f"CREATE SCHEMA app; CREATE TABLE app.items (id int); CREATE ROLE {db.name}_member")
    db.run("SELECT webhook_grant(%s, 'member')", f"{db.name}_member")
    db.create("hook", receiver.url("/"), table_name="app.items")
    worker = db.worker()
    db.run("DROP SCHEMA public CASCADE")
    db.run("INSERT INTO app.items VALUES (1)")
    assert db.value("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'app.items'::regclass") == 0
    assert db.rows("SELECT FROM pg_namespace WHERE nspname = 'webhook'") == []
    assert db.rows("SELECT FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())") == []
    db.run(f"DROP ROLE {db.name}_member")
    wait_until(lambda: not db.rows("SELECT FROM pg_stat_activity WHERE pid = %s", worker), "the worker to leave")
    db.run("CREATE SCHEMA public; CREATE EXTENSION pg_webhook")
    db.wait_for_worker()
    db.create("hook", receiver.url("/"), table_name="app.items")
    db.run("INSERT INTO app.items VALUES (2)")
    db.wait_for_status(1)
    db.drop()


def test_the_schema_of_the_functions_is_renamed(installed, receiver):
    """Installed as README says. What has been captured before goes on in its session, and hints have the new name."""
    db = installed
    another = "CREATE TABLE items (id int, note text)"
    db.run(another)
    db.create("hook", receiver.url("/"), table_name="items", events=["INSERT"], condition="NEW.id > 0", payload_columns=["id"])
    db.run("INSERT INTO items VALUES (1)")
    db.judge.run(f'ALTER SCHEMA hooks RENAME TO ops; ALTER DATABASE "{db.name}" SET search_path = public, ops')
    db.run("INSERT INTO items VALUES (0), (2)")
    db.wait_for_status(2)
    for session in (db, db.judge):
        session.run("SET search_path = public, ops")
    assert check(db) == []
    db.run("SELECT ops.webhook_update('hook', events => '{INSERT,UPDATE}')")
    with db.connect() as other:
        other.execute("UPDATE items SET note = 'a'")
    db.wait_for_status(4)

    db.run("DROP TABLE items; " + another)
    [(_, _, hint)] = check(db)
    db.run(hint[:hint.index(" watches that one")])
    db.run("ALTER TABLE items RENAME TO old; " + another)
    [(_, _, hint)] = check(db)
    db.run(hint[:hint.index(" watches that one")])
    db.run("INSERT INTO items VALUES (0), (3)")
    db.wait_for_status(5)
    assert check(db) == []
    db.run("DROP TABLE items")
    [(_, _, hint)] = check(db)
    db.run(hint[hint.index("SELECT ops."):].removesuffix("."))
    role = f"{db.name}_level"
    db.judge.run(f"CREATE ROLE {role}; SELECT ops.webhook_grant('{role}', 'member'); DROP OWNED BY {role}")
    # The webhook watches nothing any more.
    [(_, _, hint), nothing] = check(db.judge)
    db.judge.run(hint[:hint.index(" gives them again")])
    assert check(db.judge) == [nothing]
    assert sorted(record["id"] for record in records(db)) == [1, 1, 2, 2, 3]
    db.judge.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


# --- event triggers ------------------------------------------------------------------------------------


EVENTS = ["ddl_command_start", "ddl_command_end", "sql_drop", "table_rewrite"]
REFUSING = """
    CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'not today: %', tg_tag USING ERRCODE = '55006'; END $$"""


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_trigger_that_refuses(mine, people, event):
    """A statement that it refuses fails with what it says, and nothing is half done; the worker is not kept from anything."""
    mine.run("CREATE TABLE more (id int); CREATE TABLE lent (id int)")
    other = people("oth", "member")
    mine.run(f"GRANT SELECT, TRIGGER ON lent TO {other.role}")
    other.run("SELECT webhook_create('theirs', %s, 'lent')", URL)
    mine.judge.run(REFUSING)
    mine.judge.run(f"CREATE EVENT TRIGGER no ON {event} EXECUTE FUNCTION public.no()")
    state = """
        SELECT (SELECT array_agg(w ORDER BY id) FROM webhook.webhook AS w WHERE deleted_at IS NULL),
               (SELECT array_agg(v ORDER BY id) FROM webhook.watch AS v),
               (SELECT array_agg(r ORDER BY watch, operation) FROM webhook.watch_trigger AS r),
               (SELECT array_agg(t::text ORDER BY oid) FROM pg_trigger AS t),
               (SELECT count(*) FROM pg_type WHERE typnamespace = 'webhook'::regnamespace)"""
    for change in (
        f"webhook_create('new', '{URL}', 'more', '{{INSERT,DELETE}}')", "webhook_update('hook', condition => 'NEW.id > 2')",
        "webhook_watch('hook', 'more')", "webhook_update('hook', table_name => 'more', columns => '{}', payload_columns => '{}', condition => '')",
    ):
        before = mine.judge.rows(state)
        mine.run("BEGIN")
        if event.startswith("ddl"):
            with pytest.raises(psycopg.errors.ObjectInUse, match="not today: CREATE TRIGGER"):
                mine.run(f"SELECT {change}")
        else:
            mine.run(f"SELECT {change}")
        mine.run("ROLLBACK")
        assert mine.judge.rows(state) == before
    # What makes no trigger by a statement of its own.
    mine.run("SELECT webhook_update('hook', events => '{UPDATE}'); SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    mine.judge.run(f"SELECT webhook_grant('{other.role}', 'admin'); SELECT webhook_grant('{other.role}', 'member')")
    mine.run("INSERT INTO items VALUES (1, 'a', 'x')")
    assert records(mine) == [{"id": 1, "note": "a"}]
    other.run("SELECT webhook_delete('theirs')")
    gone = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'lent'::regclass"
    wait_until(lambda: mine.value(gone) == 0, "the worker to remove the triggers")
    assert mine.judge.value("SELECT state FROM webhook.worker") == "running"
    mine.run("SELECT webhook_delete('hook')")
    mine.judge.run("DROP EVENT TRIGGER no")


def test_the_log_turns_under_event_triggers_that_refuse(own_cluster, make_db, receiver):
    db = make_db(own_cluster(pg_webhook__log_retention="60"))
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run(REFUSING)
    for event in reversed(EVENTS):
        db.run(f"CREATE EVENT TRIGGER no_{event} ON {event} EXECUTE FUNCTION public.no()")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    # Which empties a slot.
    turn(db.connection)
    assert db.value("SELECT last_error FROM webhook.worker") is None
