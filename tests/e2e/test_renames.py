"""What was named goes on to mean the same thing under another name, and nothing else under its old one."""

import json

import psycopg
import pytest

from harness import wait_until
from harness.status import OF_ENDPOINTS

URL = "http://127.0.0.1:9/"


@pytest.fixture
def lender(people):
    """Somebody with a table that others may watch."""
    person = people("len")
    person.run("CREATE TABLE things (id int PRIMARY KEY, note text, secret text)")
    return person


@pytest.fixture
def owner(people, lender):
    """A member with a webhook that sends two columns of that table."""
    person = people("own", "member")
    lender.run(f"GRANT SELECT, TRIGGER ON things TO {person.role}")
    person.run("SELECT webhook_create('hook', %s, %s, payload_columns => '{note,id}')", URL, f"{lender.role}.things")
    return person


# What a dump does not hold.
SECRETS = "SELECT webhook_rotate_secret(uuid::text) FROM webhook.webhook"


def records(db):
    """What has been captured, whoever may see it."""
    return [json.loads(row[0])["record"] for row in db.rows("SELECT payload FROM webhook.event ORDER BY id")]


def problems(person):
    return [row[0] for row in person.rows(f"SELECT severity || ': ' || problem FROM webhook_check() WHERE NOT {OF_ENDPOINTS}")]


def shown(person, part):
    return person.value("SELECT t.value -> %s FROM webhook.webhooks, jsonb_each(tables) AS t", part)


def preview(person):
    return person.rows("SELECT (body::jsonb -> 'record')::text, reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')")[0]


# --- columns that are sent -----------------------------------------------------------------------------


def test_a_renamed_column_is_sent_under_its_new_name(db, owner, lender):
    writer = lender
    writer.run("INSERT INTO things VALUES (1, 'a', 'x')")
    lender.run("ALTER TABLE things RENAME note TO remark")
    writer.run("INSERT INTO things VALUES (2, 'b', 'x')")
    assert records(db) == [{"note": "a", "id": 1}, {"remark": "b", "id": 2}]
    assert shown(owner, "payload_columns") == ["remark", "id"]
    assert problems(owner) == []


def test_another_column_of_the_old_name_is_not_sent(db, owner, lender):
    """Neither one that gets the name of one that is gone, nor one that takes it over."""
    lender.run("ALTER TABLE things RENAME note TO remark; ALTER TABLE things RENAME secret TO note")
    lender.run("INSERT INTO things VALUES (1, 'a', 'hidden')")
    assert records(db) == [{"remark": "a", "id": 1}]
    assert json.loads(preview(owner)[0]) == {"remark": None, "id": 1}
    # What follows from a change of something else says no other thing.
    owner.run("SELECT webhook_update('hook', events => '{INSERT}')")
    owner.run("SELECT webhook_update('hook', columns => '{}', enabled => true)")
    lender.run("INSERT INTO things VALUES (2, 'b', 'hidden')")
    assert records(db)[1:] == [{"remark": "b", "id": 2}]
    owner.run("SELECT webhook_update('hook', payload_columns => '{note}')")
    lender.run("INSERT INTO things VALUES (3, 'c', 'chosen')")
    assert records(db)[2:] == [{"note": "chosen"}]


def test_nothing_is_captured_while_a_column_is_gone(db, owner, lender):
    """As while the owner may not read it: a body without it would be another one than what was asked for."""
    lender.run("ALTER TABLE things DROP note; ALTER TABLE things RENAME secret TO note")
    lender.run("INSERT INTO things VALUES (1, 'hidden')")
    reason = f"column note of {lender.role}.things, which is among payload_columns, has been dropped"
    assert records(db) == []
    assert problems(owner) == [f"error: {reason}"]
    assert owner.rows("SELECT health, health_reason FROM webhook.webhooks") == [("broken", reason)]
    assert preview(owner) == (None, reason)
    owner.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    assert problems(owner) == [f"error: {reason}"]
    owner.run("SELECT webhook_update('hook', payload_columns => '{id}')")
    lender.run("INSERT INTO things VALUES (2, 'hidden')")
    assert records(db) == [{"id": 2}]
    assert problems(owner) == []


def test_rights_are_those_on_the_renamed_column(db, owner, lender):
    lender.run("ALTER TABLE things RENAME note TO remark; ALTER TABLE things RENAME secret TO note")
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}; GRANT SELECT (id, remark) ON things TO {owner.role}")
    lender.run("INSERT INTO things VALUES (1, 'a', 'hidden')")
    assert records(db) == [{"remark": "a", "id": 1}]
    lender.run(f"REVOKE SELECT (remark) ON things FROM {owner.role}; GRANT SELECT (note) ON things TO {owner.role}")
    lender.run("INSERT INTO things VALUES (2, 'b', 'hidden')")
    assert records(db) == [{"remark": "a", "id": 1}]
    assert "may not read column remark" in problems(owner)[0]


def test_a_partition_with_other_numbers(db, people):
    """Numbers are those of the registered table; below it columns are found by what they are called there now."""
    owner = people("own", "member")
    owner.run("CREATE TABLE parted (id int, note text, secret text) PARTITION BY RANGE (id)")
    owner.run("CREATE TABLE low (gone int, secret text, note text, id int); ALTER TABLE low DROP gone")
    owner.run("ALTER TABLE parted ATTACH PARTITION low FOR VALUES FROM (0) TO (100)")
    owner.run("SELECT webhook_create('hook', %s, 'parted', payload_columns => '{note}')", URL)
    owner.run("ALTER TABLE parted RENAME note TO remark; ALTER TABLE parted RENAME secret TO note")
    owner.run("INSERT INTO parted VALUES (1, 'a', 'hidden')")
    assert records(db) == [{"remark": "a"}]


def test_a_restored_table_has_other_numbers(db, cluster, make_db):
    """A dump has names only: there they count, as those of `columns` do, until webhook_arm takes their numbers."""
    db.hand_over()
    db.run("CREATE TABLE items (gone int, id int, gone2 int, note text, secret text); ALTER TABLE items DROP gone, DROP gone2")
    db.create("hook", URL, table_name="items", payload_columns=["note", "id"])
    dump = cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", db.name).stdout
    file = cluster.folder / "renames.sql"
    file.write_text(dump)
    other = make_db(cluster, extension=False)
    cluster._run("psql", "-h", cluster.folder, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-f", file, other.name)
    other.run(SECRETS)
    with cluster.connect(other.name, user=db.owner) as owner:
        owner.execute("INSERT INTO items VALUES (1, 'a', 'x')")
        assert records(other) == [{"note": "a", "id": 1}]
        other.run("SELECT webhook_arm()")
        owner.execute("ALTER TABLE items RENAME note TO remark; ALTER TABLE items RENAME secret TO note")
        owner.execute("INSERT INTO items VALUES (2, 'b', 'x')")
        assert records(other)[-1] == {"remark": "b", "id": 2}
        owner.execute("ALTER TABLE items DROP remark")
    other.run("SELECT webhook_arm()")
    assert len(problems(other)) == 1
    other.drop()


def test_a_column_that_is_gone_in_a_restored_database(db, cluster, make_db):
    """Its name says what it was: nothing else takes its place by being armed."""
    db.hand_over()
    db.run("CREATE TABLE items (id int, note text)")
    db.create("hook", URL, table_name="items", payload_columns=["note", "id"])
    db.run("ALTER TABLE items DROP note")
    file = cluster.folder / "gone.sql"
    file.write_text(cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", db.name).stdout)
    other = make_db(cluster, extension=False)
    cluster._run("psql", "-h", cluster.folder, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-f", file, other.name)
    other.run(SECRETS)
    reason = ["error: column note of public.items, which is among payload_columns, has been dropped"]
    assert problems(other) == [*reason, "error: unarmed: the webhook came with a dump of another database"]
    other.run("SELECT webhook_arm()")
    with cluster.connect(other.name, user=db.owner) as owner:
        owner.execute("INSERT INTO items VALUES (1)")
        assert problems(other) == reason and records(other) == []
        owner.execute("ALTER TABLE items ADD note text")
        owner.execute("INSERT INTO items VALUES (2, 'another one')")
    assert problems(other) == reason and records(other) == []
    other.drop()


@pytest.fixture
def restored(db, cluster, make_db):
    """Makes an armed database of a dump of the test's; `before` is run by a superuser before that is armed."""
    made = []

    def restore(before="SELECT 1"):
        file = cluster.folder / f"{db.name}_dump.sql"
        file.write_text(cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", db.name).stdout)
        made.append(make_db(cluster, name=f"{db.name}_restored", extension=False))
        cluster._run("psql", "-h", cluster.folder, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-f", file, made[-1].name)
        made[-1].run(SECRETS)
        made[-1].run(before)
        made[-1].run("SELECT webhook_arm()")
        return made[-1]

    yield restore
    for database in made:
        database.drop()


def test_a_column_that_must_change_and_is_gone_when_a_database_is_armed(db, owner, lender, cluster, restored):
    owner.run("SELECT webhook_update('hook', payload_columns => '{}', events => '{UPDATE}', columns => '{note}')")
    lender.run("INSERT INTO things VALUES (1, 'a', 'x'); ALTER TABLE things DROP note CASCADE")
    watch = db.value("SELECT id FROM webhook.watch")
    wait_until(lambda: not [problem for problem in problems(db) if "belongs to no webhook" in problem], "the others to be dropped")
    lender.run(f'CREATE TRIGGER "_webhook_{watch}_update" AFTER UPDATE ON things FOR EACH ROW'
               f" EXECUTE FUNCTION webhook.capture('{watch}')")
    other = restored()
    assert problems(other) == []
    with cluster.connect(other.name, user=lender.role) as session:
        session.execute(f"ALTER TABLE {lender.role}.things RENAME secret TO note")
        session.execute(f"UPDATE {lender.role}.things SET note = 'b'")
    assert records(other) == []


def test_a_trigger_that_is_missing_when_a_database_is_armed(db, owner, lender, cluster, restored):
    """Whoever holds TRIGGER could make one of its name, under any condition."""
    watch = db.value("SELECT id FROM webhook.watch")
    lender.run(f'DROP TRIGGER "_webhook_{watch}_insert" ON things')
    other = restored()
    missing = [f"error: the trigger for INSERT on {lender.role}.things is missing"]
    assert problems(other) == missing
    make = f'CREATE TRIGGER "_webhook_{watch}_insert" AFTER INSERT ON {lender.role}.things FOR EACH ROW'
    with cluster.connect(other.name, user=lender.role) as session:
        for condition in ("", "WHEN (NEW.id > 0)"):
            session.execute(f"{make} {condition} EXECUTE FUNCTION webhook.capture('{watch}')".replace("CREATE", "CREATE OR REPLACE"))
            session.execute(f"INSERT INTO {lender.role}.things VALUES (%s, 'a', 'x')", [1 + bool(condition)])
            assert records(other) == []
            assert problems(other) == [f"error: the trigger for INSERT on {lender.role}.things is not the one that was made"]
        session.execute(f"UPDATE {lender.role}.things SET note = 'b' WHERE id = 1")
        assert records(other) == [{"note": "b", "id": 1}]
    with cluster.connect(other.name, user=owner.role) as session:
        session.execute("SELECT webhook_update('hook', events => '{INSERT,UPDATE}', condition => 'NEW.id > 0')")
    with cluster.connect(other.name, user=lender.role) as session:
        session.execute(f"INSERT INTO {lender.role}.things VALUES (3, 'c', 'x')")
    assert records(other)[1:] == [{"note": "c", "id": 3}]
    wait_until(lambda: problems(other) == [], lambda: problems(other))


def test_an_owner_that_is_gone_when_a_database_is_armed(db, people, owner, lender, cluster, restored):
    """What stands for somebody else could be called as what stood for it."""
    other = people("two", "member")
    other.run("SELECT webhook_create('mine', %s)", URL)
    anchors = dict(db.rows("SELECT name, owner FROM webhook.webhook"))
    copy = restored(f"DROP DOMAIN webhook.{anchors['hook']}")
    with cluster.connect(copy.name, user=other.role) as session:
        session.execute(f"ALTER DOMAIN webhook.{anchors['mine']} RENAME TO {anchors['hook']}")
        assert session.execute("SELECT name FROM webhook.webhooks").fetchall() == []
    assert copy.value("SELECT count(*) FROM webhook.webhook WHERE name = 'hook' AND deleted_at IS NULL") == 1


# --- types ---------------------------------------------------------------------------------------------


def test_a_type_and_a_value_of_it_that_are_renamed(db, people):
    """A condition and a watched column that use them, in a session that has written before and in another."""
    owner = people("own", "member")
    owner.run("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE items (id int, mood mood, note text)")
    owner.run("SELECT webhook_create('hook', %s, 'items', '{UPDATE}', columns => '{mood}', condition => %s)", URL, "NEW.mood = 'ok'::mood")
    owner.run("INSERT INTO items VALUES (1, 'sad'); UPDATE items SET mood = 'ok'")
    owner.run("ALTER TYPE mood RENAME TO feeling; ALTER TYPE feeling RENAME VALUE 'ok' TO 'fine'")
    # Another one of its old name is not what was meant.
    owner.run("CREATE TYPE mood AS ENUM ('ok')")
    with db.cluster.connect(db.name, user=owner.role) as other:
        for session in (owner.connection, other):
            session.execute("UPDATE items SET note = 'a'; UPDATE items SET mood = 'sad'; UPDATE items SET mood = 'fine'")
    row = {"id": 1, "mood": "fine", "note": "a"}
    assert records(db) == [{**row, "mood": "ok", "note": None}, row, row]
    assert problems(owner) == []
    previewed = "SELECT body::jsonb -> 'record', reason FROM webhook_preview('hook', 'UPDATE', %s, %s)"
    assert owner.rows(previewed, json.dumps(row), json.dumps({**row, "mood": "sad"})) == [(row, None)]
    # One more trigger has the condition of the other.
    owner.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    owner.run("INSERT INTO items VALUES (2, 'sad'), (3, 'fine'); UPDATE items SET note = 'b'; UPDATE items SET mood = 'fine'")
    assert [record["id"] for record in records(db)[3:]] == [3, 2]
    assert problems(owner) == []


# --- roles that are heard ------------------------------------------------------------------------------


@pytest.fixture
def hearing(db, people):
    """A member with a webhook that hears a role (app), and that role."""
    owner, app = people("own", "member"), people("app")
    owner.run("SELECT webhook_create('hook', %s, events => '{a.b}', emitters => %s)", URL, [app.role])
    return owner, app


EMIT = "SELECT webhook_emit('a.b', '1')"


def test_a_renamed_role_is_heard_and_another_of_its_name_is_not(db, cluster, people, hearing):
    owner, app = hearing
    new, other = f"{app.role}_new", people("oth")
    db.run(f"GRANT EXECUTE ON FUNCTION webhook_emit(text, jsonb, text) TO {other.role}")
    db.run(f"ALTER ROLE {app.role} RENAME TO {new}; ALTER ROLE {other.role} RENAME TO {app.role}")
    try:
        assert app.value(EMIT) == 1
        assert other.value(EMIT) == 0
        assert owner.value("SELECT emitters FROM webhook.webhooks") == [new]
        # No longer named, it loses what came with being named, under whatever name; the other one nothing.
        owner.run("SELECT webhook_update('hook', emitters => '{}')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.run(EMIT)
        assert other.value(EMIT) == 0
    finally:
        db.run(f"ALTER ROLE {app.role} RENAME TO {other.role}; ALTER ROLE {new} RENAME TO {app.role}")


def test_a_renamed_role_loses_the_schema_it_got(cluster, make_db):
    """USAGE on the extension's schema, where that came with being named."""
    db = make_db(cluster, extension=False)
    db.run("CREATE SCHEMA hooks; CREATE EXTENSION pg_webhook SCHEMA hooks")
    app = f"{db.name}_app"
    db.run(f"CREATE ROLE {app} LOGIN")
    db.run("SELECT hooks.webhook_create('hook', %s, events => '{a.b}', emitters => %s)", URL, [app])
    db.run(f"ALTER ROLE {app} RENAME TO {app}2")
    assert db.value(f"SELECT has_schema_privilege('{app}2', 'hooks', 'USAGE')")
    db.run("SELECT hooks.webhook_delete('hook')")
    assert not db.value(f"SELECT has_schema_privilege('{app}2', 'hooks', 'USAGE')")
    db.run(f"DROP ROLE {app}2")
    db.drop()


def test_usage_by_membership_is_not_an_emitters_own(cluster, make_db):
    """It would end with the membership, while the role is still named."""
    db = make_db(cluster, extension=False)
    db.run("CREATE SCHEMA hooks; CREATE EXTENSION pg_webhook SCHEMA hooks")
    app, group = f"{db.name}_app", f"{db.name}_group"
    db.run(f"CREATE ROLE {group}; CREATE ROLE {app} LOGIN IN ROLE {group}; GRANT USAGE ON SCHEMA hooks TO {group}")
    db.run("SELECT hooks.webhook_create('hook', %s, events => '{a.b}', emitters => %s)", URL, [app])
    db.run(f"REVOKE {group} FROM {app}")
    with cluster.connect(db.name, user=app) as session:
        assert session.execute("SELECT hooks.webhook_emit('a.b', '1')").fetchone() == (1,)
    db.run("SELECT hooks.webhook_delete('hook')")
    assert not db.value(f"SELECT has_schema_privilege('{app}', 'hooks', 'USAGE')")
    db.run(f"DROP OWNED BY {group}; DROP ROLE {app}, {group}")
    db.drop()


def test_a_dropped_role_is_not_the_next_one_of_its_name(db, cluster, people):
    owner, gone = people("own", "member"), f"{db.name}_gone"
    db.run(f"CREATE ROLE {gone} LOGIN")
    owner.run("SELECT webhook_create('hook', %s, events => '{a.b}', emitters => %s)", URL, [gone])
    db.run(f"DROP OWNED BY {gone}; DROP ROLE {gone}; CREATE ROLE {gone} LOGIN")
    db.run(f"GRANT EXECUTE ON FUNCTION webhook_emit(text, jsonb, text) TO {gone}")
    with cluster.connect(db.name, user=gone) as session:
        assert session.execute(EMIT).fetchone() == (0,)
    owner.run("SELECT webhook_update('hook', emitters => '{}')")
    db.run(f"DROP OWNED BY {gone}; DROP ROLE {gone}")


def test_a_role_that_is_gone_when_a_database_is_armed(db, people, hearing, cluster, restored):
    """Another one that gets its name later is not heard."""
    app, gone = people("later"), f"{db.name}_gone"
    owner = hearing[0]
    db.run(f"CREATE ROLE {gone}")
    owner.run("SELECT webhook_update('hook', emitters => %s)", [gone])
    db.run(f"DROP OWNED BY {gone}; DROP ROLE {gone}")
    copy = restored()
    copy.run(f"GRANT EXECUTE ON FUNCTION webhook_emit(text, jsonb, text) TO {app.role}")
    db.run(f"ALTER ROLE {app.role} RENAME TO {gone}")
    try:
        with cluster.connect(copy.name, user=gone) as session:
            assert session.execute(EMIT).fetchone() == (0,)
    finally:
        db.run(f"ALTER ROLE {gone} RENAME TO {app.role}")
        copy.run(f"DROP OWNED BY {app.role}")


def test_emitters_of_a_restored_database_are_found_by_name(db, people, hearing, cluster, make_db):
    owner, app = hearing
    file = cluster.folder / "emitters.sql"
    file.write_text(cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", db.name).stdout)
    other = make_db(cluster, extension=False)
    cluster._run("psql", "-h", cluster.folder, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-f", file, other.name)
    with cluster.connect(other.name, user=app.role) as session:
        assert session.execute(EMIT).fetchone() == (1,)
        other.run("SELECT webhook_arm()")
        new = f"{app.role}_new"
        db.run(f"ALTER ROLE {app.role} RENAME TO {new}")
        try:
            assert session.execute(EMIT).fetchone() == (1,)
        finally:
            db.run(f"ALTER ROLE {new} RENAME TO {app.role}")
    other.drop()


def may_emit(db, person):
    return db.value("SELECT has_function_privilege(%s, 'webhook_emit(text, jsonb, text)', 'EXECUTE')", person.role)


def test_what_emitters_got_ends_with_the_owner(db, people, hearing, receiver):
    """Who is named by a webhook of somebody else keeps it; what others hold open makes nothing wait but this."""
    owner, app = hearing
    other, both = people("two", "member"), people("both")
    owner.run("SELECT webhook_update('hook', emitters => %s)", [app.role, both.role])
    other.run("SELECT webhook_create('theirs', %s, events => '{a.b}', emitters => %s)", receiver.url("/"), [both.role])
    other.run("BEGIN")
    other.run("SELECT webhook_update('theirs', emitters => %s)", [both.role])
    anchor = db.value("SELECT owner FROM webhook.webhook WHERE name = 'hook'")
    owner.run(f"DROP DOMAIN webhook.{anchor}")
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.webhook WHERE deleted_at IS NULL") == 1, "deletion")
    assert both.value(EMIT) == 1
    receiver.wait(1)
    assert may_emit(db, app)
    other.run("COMMIT")
    wait_until(lambda: not may_emit(db, app), "REVOKE")
    assert may_emit(db, both)
