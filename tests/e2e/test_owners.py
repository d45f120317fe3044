"""Rights are those of now: whose a webhook is, and what that role may read."""

import json

import psycopg
import pytest

from harness import wait_until
from harness.status import OF_ENDPOINTS


@pytest.fixture
def lender(people):
    """Somebody with a table that others may watch."""
    person = people("len")
    person.run("CREATE TABLE things (id int PRIMARY KEY, note text, hidden text)")
    return person


@pytest.fixture
def owner(people, lender):
    """A member with a webhook on that table, all of which it may read."""
    person = people("own", "member")
    lender.run(f"GRANT SELECT, TRIGGER ON things TO {person.role}")
    return person


def watch(person, lender, url, **settings):
    named = {"name": "hook", "url": url, "table_name": f"{lender.role}.things", **settings}
    arguments = ", ".join(f"{key} => %({key})s" for key in named)
    person.connection.execute(f"SELECT webhook_create({arguments})", named)


def write(lender, number):
    lender.run("INSERT INTO things VALUES (%s, 'note', 'hidden')", number)


def records(db):
    """What has been captured, whoever may see it."""
    return [json.loads(row[0])["record"] for row in db.rows("SELECT payload FROM webhook.event ORDER BY id")]


def problems(person):
    return [row[0] for row in person.rows(f"SELECT severity || ': ' || problem FROM webhook_check() WHERE NOT {OF_ENDPOINTS}")]


def health(person):
    return person.rows("SELECT health, health_reason FROM webhook.webhooks")


WHOLE = {"id": 1, "note": "note", "hidden": "hidden"}


# --- what the owner may read -------------------------------------------------------------------------


def test_a_column_that_the_owner_may_not_read_is_left_out(db, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"))
    write(lender, 1)
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}; GRANT SELECT (id, note) ON things TO {owner.role}")
    write(lender, 2)
    lender.run(f"GRANT SELECT ON things TO {owner.role}")
    write(lender, 3)
    assert records(db) == [WHOLE, {"id": 2, "note": "note"}, {**WHOLE, "id": 3}]


def test_a_column_that_was_added_later_is_left_out(db, owner, lender, receiver):
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}; GRANT SELECT (id, note, hidden) ON things TO {owner.role}")
    watch(owner, lender, receiver.url("/"))
    lender.run("ALTER TABLE things ADD COLUMN salary int DEFAULT 7")
    write(lender, 1)
    assert records(db) == [WHOLE]
    assert problems(owner) == [
        f"warning: column salary of {lender.role}.things is left out, because the webhook's owner may not read it"
    ]
    assert health(owner) == [("healthy", None)]
    lender.run(f"GRANT SELECT (salary) ON things TO {owner.role}")
    write(lender, 2)
    assert records(db)[1] == {**WHOLE, "id": 2, "salary": 7}
    assert problems(owner) == []


def test_nothing_is_captured_while_the_owner_may_not_read_what_it_has_chosen(db, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"), payload_columns="{id,note}")
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}; GRANT SELECT (id) ON things TO {owner.role}")
    write(lender, 1)
    assert records(db) == []
    reason = f"role {owner.role} may not read column note of {lender.role}.things, which is among payload_columns"
    assert health(owner) == [("broken", reason)]
    assert problems(owner) == [f"error: {reason}"]
    assert reason in owner.value(
        "SELECT reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')"
    )
    lender.run(f"GRANT SELECT (note) ON things TO {owner.role}")
    write(lender, 2)
    assert records(db) == [{"id": 2, "note": "note"}]
    assert health(owner) == [("healthy", None)]


def test_nothing_is_captured_after_revoke(db, cluster, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"))
    write(lender, 1)
    lender.run(f"REVOKE ALL ON things FROM {owner.role}")
    write(lender, 2)
    assert records(db) == [WHOLE]
    assert health(owner) == [("broken", f"role {owner.role} may read nothing of {lender.role}.things")]
    assert cluster.log_lines(rf'webhook "hook" captures nothing: role {owner.role} may read nothing')


def test_a_webhook_that_captures_nothing_says_so_beside_another_of_its_name(db, cluster, owner, lender):
    """In one session: the first has been renamed since, and what hides from both is the same."""
    said = rf'webhook "{db.name}" captures nothing: role {owner.role} may read nothing of {lender.role}.things'
    watch(owner, lender, "http://127.0.0.1:9/", name=db.name)
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}")
    write(lender, 1)
    write(lender, 2)
    assert len(cluster.log_lines(said)) == 1
    owner.run("SELECT webhook_update(%s, name => 'before')", db.name)
    lender.run(f"GRANT SELECT ON things TO {owner.role}")
    watch(owner, lender, "http://127.0.0.1:9/", name=db.name)
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}")
    write(lender, 3)
    assert len(cluster.log_lines(said)) == 2
    assert records(db) == []


def test_the_key_of_a_row_that_is_too_large_holds_nothing_that_is_hidden(db, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"))
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}; GRANT SELECT (note) ON things TO {owner.role}")
    lender.run("INSERT INTO things VALUES (1, repeat('x', 2000000))")
    assert records(db) == [{}]


def test_row_security_that_comes_later_counts(db, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"))
    lender.run("ALTER TABLE things ENABLE ROW LEVEL SECURITY")
    write(lender, 1)
    assert records(db) == []
    assert "row-level security" in health(owner)[0][1]
    lender.run("ALTER TABLE things DISABLE ROW LEVEL SECURITY")
    write(lender, 2)
    assert [record["id"] for record in records(db)] == [2]


def test_row_security_does_not_keep_the_tables_owner_from_its_own(db, people, lender, receiver):
    db.run("SELECT webhook_grant(%s, 'member')", lender.role)
    watch(lender, lender, receiver.url("/"))
    lender.run("ALTER TABLE things ENABLE ROW LEVEL SECURITY")
    write(lender, 1)
    assert records(db) == [WHOLE]


def test_a_lost_membership_ends_what_came_with_it(db, people, lender, receiver):
    db.run(f"CREATE ROLE {db.name}_readers")
    try:
        owner = people("via", "member")
        lender.run(f"GRANT SELECT, TRIGGER ON things TO {db.name}_readers")
        db.run(f"GRANT {db.name}_readers TO {owner.role}")
        watch(owner, lender, receiver.url("/"))
        write(lender, 1)
        db.run(f"REVOKE {db.name}_readers FROM {owner.role}")
        write(lender, 2)
        db.run(f"GRANT {db.name}_readers TO {owner.role}")
        write(lender, 3)
        db.run(f"ALTER ROLE {owner.role} NOINHERIT")
        db.run(f"REVOKE {db.name}_readers FROM {owner.role}; GRANT {db.name}_readers TO {owner.role}")
        write(lender, 4)
        assert [record["id"] for record in records(db)] == [1, 3]
    finally:
        db.run(f"DROP OWNED BY {db.name}_readers; DROP ROLE {db.name}_readers")


def test_a_table_that_gets_another_owner_is_not_sent_any_more(db, people, receiver):
    owner, other = people("one", "member"), people("two")
    owner.run("CREATE TABLE things (id int PRIMARY KEY, note text, hidden text)")
    watch(owner, owner, receiver.url("/"))
    write(owner, 1)
    db.run(f"ALTER TABLE {owner.role}.things OWNER TO {other.role}; GRANT INSERT ON {owner.role}.things TO {owner.role}")
    write(owner, 2)
    assert [record["id"] for record in records(db)] == [1]


@pytest.mark.parametrize("kind", ["partition", "child"])
def test_rights_on_the_registered_table_count_for_what_is_below_it(db, owner, lender, receiver, kind):
    if kind == "partition":
        lender.run("DROP TABLE things; CREATE TABLE things (id int, note text, hidden text) PARTITION BY RANGE (id)")
        # with its columns in another order
        lender.run("CREATE TABLE part (hidden text, note text, id int)")
        lender.run("ALTER TABLE things ATTACH PARTITION part FOR VALUES FROM (0) TO (100)")
        lender.run(f"GRANT SELECT, TRIGGER ON things, part TO {owner.role}")
    watch(owner, lender, receiver.url("/"))
    if kind == "child":
        lender.run("CREATE TABLE part (more text) INHERITS (things)")
        name, watched = db.rows(
            "SELECT tgname, convert_from(trim('\\x00'::bytea FROM tgargs), 'UTF8') FROM pg_trigger"
            " WHERE tgtype = 5 AND tgfoid = 'webhook.capture'::regproc"
        )[0]
        lender.run(
            f'CREATE TRIGGER "{name}" AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION webhook.capture(\'{watched}\')'
        )
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}; GRANT SELECT (id, note) ON things TO {owner.role}")
    lender.run("INSERT INTO part (id, note, hidden) VALUES (1, 'note', 'hidden')")
    assert records(db) == [{"id": 1, "note": "note"}]


# --- whose a webhook is ------------------------------------------------------------------------------


def test_a_role_with_a_webhook_is_not_dropped(db, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"))
    db.run(f"REVOKE ALL ON {lender.role}.things FROM {owner.role}")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as caught:
        db.run(f"DROP ROLE {owner.role}")
    assert "owner of type webhook.owner_" in caught.value.diag.message_detail


def test_drop_owned_ends_the_webhooks(db, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"))
    receiver.hold()
    write(lender, 1)
    wait_until(lambda: receiver.under_way, "a request")
    db.run(f"DROP OWNED BY {owner.role}")
    write(lender, 2)
    assert [record["id"] for record in records(db)] == [1]
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.webhook WHERE deleted_at IS NULL") == 0, "deletion")
    assert db.value("SELECT count(*) FROM webhook.secret") == 0
    receiver.release()
    db.run(f"DROP SCHEMA IF EXISTS {owner.role}; CREATE SCHEMA {owner.role}")


def test_reassign_owned_gives_the_webhooks_away(db, people, owner, lender, receiver):
    other = people("two", "member")
    watch(owner, lender, receiver.url("/"))
    watch(other, lender, receiver.url("/")) if lender.run(f"GRANT SELECT, TRIGGER ON things TO {other.role}") else None
    db.run(f"REASSIGN OWNED BY {owner.role} TO {other.role}")
    assert owner.rows("SELECT name FROM webhook.webhooks") == []
    assert other.rows("SELECT name, owner::text FROM webhook.webhooks") == [("hook", other.role)] * 2
    with pytest.raises(psycopg.errors.AmbiguousFunction):
        other.run("SELECT webhook_pause('hook')")
    write(lender, 1)
    assert records(db) == [WHOLE, WHOLE]


def test_a_renamed_role_keeps_its_webhooks(db, owner, lender, receiver):
    watch(owner, lender, receiver.url("/"))
    renamed = f"{owner.role}_new"
    db.run(f"ALTER ROLE {owner.role} RENAME TO {renamed}")
    try:
        assert db.value("SELECT owner::text FROM webhook.webhooks") == renamed
        write(lender, 1)
        assert records(db) == [WHOLE]
    finally:
        db.run(f"ALTER ROLE {renamed} RENAME TO {owner.role}")


GIVES_UP = {
    "rename": "ALTER DOMAIN webhook.{anchor} RENAME TO other",
    "check": "ALTER DOMAIN webhook.{anchor} ADD CHECK (VALUE)",
    "default": "ALTER DOMAIN webhook.{anchor} SET DEFAULT true",
    "not null": "ALTER DOMAIN webhook.{anchor} SET NOT NULL",
    "drop": "DROP DOMAIN webhook.{anchor}",
}


@pytest.mark.parametrize("how", GIVES_UP)
def test_whoever_changes_what_stands_for_it_gives_its_webhooks_up(db, owner, lender, receiver, how):
    watch(owner, lender, receiver.url("/"))
    write(lender, 1)
    owner.run(GIVES_UP[how].format(anchor=db.value("SELECT owner FROM webhook.webhook")))
    write(lender, 2)
    assert records(db) == [WHOLE]
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.webhook WHERE deleted_at IS NULL") == 0, "deletion")


#: What is done with a webhook whose owner is gone, and how that is refused to a superuser.
CALLS = {
    "update": "SELECT webhook_update('hook', url => 'http://127.0.0.1:9/')", "pause": "SELECT webhook_pause('hook')",
    "watch": "SELECT webhook_watch('hook', %(table)s)", "unwatch": "SELECT webhook_unwatch('hook', %(table)s)",
    "preview": "SELECT * FROM webhook_preview('hook', 'INSERT', '{}')", "check": "SELECT * FROM webhook_check('hook')",
    "test": "SELECT webhook_test('hook')", "emit": "SELECT webhook_emit('a.b', '1')",
    "invoke": "SELECT webhook_invoke('hook', ROW(1))", "rotate": "SELECT webhook_rotate_secret('hook')",
    "transform": "SELECT webhook_update('hook', transform => 'public.same(jsonb)')",
    "give": "SELECT webhook_update('hook', owner => 'postgres')", "replay": "SELECT webhook_replay_all('hook')",
    "views": "SELECT * FROM webhook.webhooks, webhook.deliveries", "delete": "SELECT webhook_delete('hook')",
}


REFUSED = {"watch": "42710", "preview": "42704", "test": "42704", "transform": "42501", "give": "42501"}


@pytest.mark.parametrize("call", CALLS)
def test_a_webhook_whose_owner_is_gone_is_managed(db, people, owner, lender, receiver, call):
    """By an admin or a superuser, until the worker has ended it: with what it takes to delete it, or a refusal."""
    admin = people("adm", "admin")
    db.run("CREATE FUNCTION public.same(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    watch(owner, lender, receiver.url("/"))
    write(lender, 1)
    anchor = db.value("SELECT owner FROM webhook.webhook")
    for session in (db, admin):
        db.run("BEGIN")
        db.run(f"ALTER DOMAIN webhook.{anchor} SET NOT NULL")
        if session is admin:
            db.run(f"SET LOCAL ROLE {admin.role}")
        refused = REFUSED.get(call)
        if session is admin and call == "watch":
            refused = "42501"  # it has no right on the table
        try:
            db.connection.execute(CALLS[call], {"table": f"{lender.role}.things"})
        except psycopg.Error as error:
            assert error.sqlstate == refused, error
        else:
            assert refused is None
        db.run("ROLLBACK")


def test_nobody_takes_the_place_of_an_owner_that_is_gone(db, people, owner, lender, receiver):
    """Its name can be had, by whoever renames its own; it stands for nothing then."""
    other = people("two", "member")
    watch(owner, lender, receiver.url("/"))
    other.run("SELECT webhook_create('mine', %s)", receiver.url("/mine"))
    anchors = dict(db.rows("SELECT name, owner FROM webhook.webhook"))
    owner.run(f"DROP DOMAIN webhook.{anchors['hook']}")
    other.run(f"ALTER DOMAIN webhook.{anchors['mine']} RENAME TO {anchors['hook']}")
    assert other.rows("SELECT name FROM webhook.webhooks") == []
    write(lender, 1)
    assert records(db) == []


def test_nobody_has_a_use_for_what_stands_for_a_role(db, people, owner, lender, receiver):
    other = people("two", "member")
    watch(owner, lender, receiver.url("/"))
    anchor = db.value("SELECT owner FROM webhook.webhook")
    for statement in (f"CREATE TABLE t (c webhook.{anchor})", f"CREATE DOMAIN d AS webhook.{anchor}",
                      f"ALTER DOMAIN webhook.{anchor} OWNER TO {other.role}", f"DROP DOMAIN webhook.{anchor}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.run(statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        owner.run(f"ALTER DOMAIN webhook.{anchor} OWNER TO {other.role}")


# --- giving away -------------------------------------------------------------------------------------


def test_a_webhook_is_given_away_with_the_rights_of_both(db, people, owner, lender, receiver):
    group = people("grp", attributes="NOLOGIN")
    lender.run(f"GRANT SELECT ON things TO {group.role}")
    watch(owner, lender, receiver.url("/"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="give webhook"):
        owner.run("SELECT webhook_update('hook', owner => %s)", group.role)
    db.run(f"GRANT {group.role} TO {owner.role}")
    owner.run("SELECT webhook_update('hook', owner => %s)", group.role)
    assert owner.rows("SELECT name, owner::text FROM webhook.webhooks") == [("hook", group.role)]
    write(lender, 1)
    assert records(db) == [WHOLE]


def test_an_admin_gives_no_webhook_of_others_away(db, people, owner, lender, receiver):
    admin = people("adm", "admin")
    watch(owner, lender, receiver.url("/"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        admin.run("SELECT webhook_update('hook', owner => %s)", admin.role)
    db.run("SELECT webhook_update(uuid::text, owner => %s) FROM webhook.webhook", admin.role)
    assert admin.rows("SELECT owner::text FROM webhook.webhooks") == [(admin.role,)]


def test_a_transform_goes_along_where_the_new_owner_could_have_chosen_it(db, people, owner, lender, receiver):
    other = people("two", "member")
    owner.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    watch(owner, lender, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="cannot run as"):
        db.run("SELECT webhook_update('hook', owner => %s)", other.role)
    assert owner.rows("SELECT owner::text FROM webhook.webhooks") == [(owner.role,)]
    db.run(f"ALTER FUNCTION {owner.role}.shape(jsonb) OWNER TO postgres")
    db.run("SELECT webhook_update('hook', owner => %s)", other.role)
    lender.run(f"GRANT SELECT ON things TO {other.role}")
    write(lender, 1)
    assert records(db) == [WHOLE]


def test_a_transform_that_cannot_be_called_shows(db, people, owner, lender, receiver):
    owner.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    watch(owner, lender, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    db.run(f"DROP FUNCTION {owner.role}.shape(jsonb) CASCADE")
    assert health(owner) == [("broken", "the transform has been dropped")]


CHANGES = {
    "another value": "SET DEFAULT '{}'", "another argument": "SET DEFAULT {own}.shape('{{}}')",
    "another call": "SET DEFAULT {own}.shape({own}.shape(NULL::jsonb))", "none": "DROP DEFAULT", "name": "RENAME TO other",
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_transform_whose_anchor_was_changed_shows(db, owner, lender, receiver, how):
    """As capture takes it: for none."""
    owner.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    watch(owner, lender, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    assert health(owner) == [("healthy", None)]
    anchor = db.value("SELECT anchor FROM webhook.webhook")
    change = CHANGES[how].format(own=owner.role) if "{own}" in CHANGES[how] else CHANGES[how]
    owner.run(f"ALTER DOMAIN webhook.{anchor} {change}")
    write(lender, 1)
    assert db.value("SELECT failure IS NOT NULL FROM webhook.event")
    [(state, reason)] = health(owner)
    assert state == "broken" and "transform" in reason
    assert problems(owner)[0] == f"error: {reason}"
    owner.run("SELECT webhook_update('hook', transform => %s)", f"{owner.role}.shape(jsonb)")
    assert "broken" not in health(owner)[0]


def test_a_transform_that_is_built_in_is_in_order(db, owner, lender, receiver):
    """Nothing depends on one: it is known by what the anchor calls."""
    # It has a second argument since PostgreSQL 18, which has no other that is one.
    name = db.value("SELECT to_regprocedure('pg_catalog.jsonb_strip_nulls(jsonb)')::text")
    if name is None:
        assert db.value("SHOW server_version_num") >= "180000"
        return
    watch(owner, lender, receiver.url("/"), transform=f"pg_catalog.{name}")
    assert health(owner) == [("healthy", None)] and problems(owner) == []


def test_an_anchor_that_is_kept_shows(db, people, owner, lender, receiver):
    """It keeps the function from being dropped, so its owner is told what to do."""
    admin = people("adm", "admin")
    owner.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    watch(owner, lender, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    anchor = db.value("SELECT anchor FROM webhook.webhook")
    owner.run(f"CREATE TABLE uses (it webhook.{anchor})")
    assert problems(owner) == [] and problems(admin) == []
    owner.run("SELECT webhook_update('hook', transform => '-')")
    kept = [f"warning: domain webhook.{anchor} belongs to no webhook, and does nothing"]
    assert problems(owner) == kept and problems(admin) == kept
    assert problems(people("oth", "member")) == []
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        owner.run("DROP FUNCTION shape(jsonb)")
    owner.run("DROP TABLE uses")
    owner.run(owner.value("SELECT hint FROM webhook_check()"))
    owner.run("DROP FUNCTION shape(jsonb)")
    assert problems(owner) == []


def test_an_internal_error_keeps_no_anchor_in_silence(db, owner, lender, receiver):
    owner.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    watch(owner, lender, receiver.url("/"), transform=f"{owner.role}.shape(jsonb)")
    # As a damaged catalog has it.
    db.run("SET allow_system_table_mods = on; INSERT INTO pg_depend VALUES"
           " ('pg_class'::regclass, 1259, 0, 'pg_type'::regclass,"
           " (SELECT oid FROM pg_type WHERE typname = (SELECT anchor FROM webhook.webhook)), 0, 'Q')")
    try:
        with pytest.raises(psycopg.errors.InternalError, match="unrecognized dependency type"):
            owner.run("SELECT webhook_update('hook', transform => '-')")
        assert health(owner) == [("healthy", None)]
    finally:
        db.run("DELETE FROM pg_depend WHERE deptype = 'Q'")


def test_the_rights_of_the_databases_owner_go_with_the_database(db, owner, lender, writer, receiver):
    """Those of pg_database_owner are had by whoever owns the database by now."""
    lender.run(f"REVOKE ALL ON things FROM {owner.role}; GRANT SELECT, TRIGGER ON things TO pg_database_owner;"
               f"GRANT INSERT ON things TO {writer.role}")
    db.run(f"ALTER DATABASE {db.name} OWNER TO {owner.role}")
    try:
        watch(owner, lender, receiver.url("/"))
        insert = f"INSERT INTO {lender.role}.things VALUES (%s, 'note', 'hidden')"
        writer.run(insert, 1)
        db.run(f"ALTER DATABASE {db.name} OWNER TO postgres")
        writer.run(insert, 2)
        assert health(owner) == [("broken", f"role {owner.role} may read nothing of {lender.role}.things")]
        db.run(f"ALTER DATABASE {db.name} OWNER TO {owner.role}")
        writer.run(insert, 3)
        assert [record["id"] for record in records(db)] == [1, 3]
    finally:
        db.run(f"ALTER DATABASE {db.name} OWNER TO postgres")


def test_two_new_owners_do_not_wait_for_each_other(db, people):
    one, other = people("one", "member"), people("two", "member")
    one.run("BEGIN; SELECT webhook_create('hook', 'http://127.0.0.1:9/')")
    other.run("SET statement_timeout = '5s'")
    other.run("SELECT webhook_create('hook', 'http://127.0.0.1:9/')")
    one.run("COMMIT")
    assert db.value("SELECT count(DISTINCT owner) FROM webhook.webhook") == 2


def test_two_sessions_of_a_new_owner_make_one_name_once(cluster, db, people, receiver):
    """What stands for a role is made once, whoever is first."""
    person = people("own", "member")
    with cluster.connect(db.name, user=person.role) as second:
        second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        second.execute("SELECT 1")
        person.run("SELECT webhook_create('hook', %s)", receiver.url("/"))
        # It stands in the way of the same name, though the snapshot does not show it.
        with pytest.raises(psycopg.errors.SerializationFailure):
            second.execute("SELECT webhook_create('hook', %s)", [receiver.url("/")])
        second.execute("ROLLBACK")
        second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        second.execute("SELECT webhook_create('other', %s)", [receiver.url("/")])
        second.execute("COMMIT")
    assert db.value("SELECT count(DISTINCT owner) FROM webhook.webhook") == 1


# --- what is wrong ------------------------------------------------------------------------------------


def test_an_owner_that_is_gone_is_told_of_a_webhook_without_a_table(own_cluster, make_db, receiver):
    """Without a worker, which would end it, too."""
    db = make_db(own_cluster(shared_preload_libraries="''"), extension=False)
    db.run("CREATE EXTENSION pg_webhook")
    role = f"{db.name}_own"
    db.run(f"CREATE ROLE {role} LOGIN; CREATE ROLE {role}_app LOGIN; SELECT webhook_grant('{role}', 'member')")
    with db.cluster.connect(db.name, user=role) as owner:
        owner.execute("SELECT webhook_create('hook', %s, events => '{a.*}', emitters => %s)", [receiver.url("/"), [f"{role}_app"]])
        [anchor] = owner.execute("SELECT typname FROM pg_type WHERE typname LIKE 'owner_%'").fetchone()
        owner.execute(f"DROP DOMAIN webhook.{anchor}")
    with db.cluster.connect(db.name, user=f"{role}_app") as app:
        assert app.execute("SELECT webhook_emit('a.b', '{}')").fetchone() == (0,), "nobody hears it, and it does not fail"
    gone = "the role that the webhook belonged to is gone"
    unserved = "pg_webhook is not in shared_preload_libraries, so there is no worker"
    assert db.rows("SELECT health, health_reason FROM webhook.webhooks") == [("broken", f"{gone}; {unserved}")]
    [(_, _, first, _), (name, severity, problem, hint)] = db.rows("SELECT * FROM webhook_check()")
    assert (first, name, severity, problem) == (unserved, "hook", "error", gone)
    db.run(hint)
    assert [problem for _, _, problem, _ in db.rows("SELECT * FROM webhook_check()")] == [unserved]


def test_webhooks_of_one_name_are_told(db, people, owner, receiver):
    other = people("oth", "member")
    for person in (owner, other):
        person.run("SELECT webhook_create('hook', %s, events => '{a.*}')", receiver.url("/"))
    db.run(f"REASSIGN OWNED BY {owner.role} TO {other.role}")
    told = other.rows("SELECT webhook, severity, problem, hint FROM webhook_check()")
    assert [row[:3] for row in told] == [("hook", "warning", f"role {other.role} has several webhooks of the name 'hook'")] * 2
    uuids = [row[0] for row in other.rows("SELECT id::text FROM webhook.webhooks")]
    assert sorted(uuid for uuid in uuids for row in told if uuid in row[3]) == sorted(uuids)
    other.run("SELECT webhook_delete(%s)", uuids[0])
    assert problems(other) == []


# --- a dump that ends up with another role -----------------------------------------------------------


@pytest.mark.parametrize("how", ["without owners", "without the role"])
def test_a_dump_that_ends_up_with_another_role_runs_nothing_as_that(db, owner, people, receiver, cluster, make_db, how):
    """What the owner of a webhook has written does not get the rights of whoever restores, who has to say so first."""
    table, writer = f"{owner.role}.felt", people("wri")
    note = f"INSERT INTO {owner.role}.ran VALUES (current_user);"
    owner.run(
        "CREATE TYPE mood AS ENUM ('happy'); CREATE TABLE felt (id int, m mood); CREATE TABLE ran (who text);"
        f"CREATE FUNCTION shape(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN {note} RETURN p; END $$;"
        f"CREATE FUNCTION as_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN {note} RETURN '1'; END $$;"
        f"CREATE FUNCTION counts(mood) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {note} RETURN true; END $$;"
        "CREATE CAST (mood AS json) WITH FUNCTION as_json(mood);"
        f"GRANT INSERT ON felt, ran TO {writer.role}"
    )
    create = "SELECT webhook_create(%s, %s, %s, events => '{INSERT}', condition => %s, transform => %s)"
    owner.run(create, "hook", receiver.url("/"), table, f"{owner.role}.counts(NEW.m)", f"{owner.role}.shape(jsonb)")
    owner.run(create, "cast", receiver.url("/"), table, None, None)
    options = ["--no-owner"] if how == "without owners" else []
    dump = cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", *options, db.name).stdout
    file = cluster.folder / f"{db.name}.sql"
    file.write_text(dump.replace(f"OWNER TO {owner.role};", "OWNER TO nobody_here;"))
    copy = make_db(cluster, f"{db.name}_copy", extension=False)
    cluster._run("psql", "-h", cluster.folder, "-U", "postgres", "-q", "-f", file, copy.name)
    why = f"the webhook came with a dump in which it belonged to role {owner.role}, and belongs to role postgres here"

    def happens():
        copy.run(f"TRUNCATE {owner.role}.ran")
        with cluster.connect(copy.name, user=writer.role) as session:
            session.execute(f"INSERT INTO {table} VALUES (1, 'happy')")
        as_whom = [copy.rows(f"SELECT DISTINCT who FROM {owner.role}.ran ORDER BY who DESC")]
        copy.run(f"TRUNCATE {owner.role}.ran")
        copy.run(f"SELECT webhook_invoke('hook', f) FROM (SELECT 'happy'::{owner.role}.mood AS m) AS f")
        reason = copy.value("SELECT reason FROM webhook_preview('hook', 'INSERT', %s)", '{"id": 1, "m": "happy"}')
        as_whom.append(copy.rows(f"SELECT DISTINCT who FROM {owner.role}.ran ORDER BY who DESC"))
        dead = copy.rows("SELECT webhook, error FROM webhook.dead_letters ORDER BY id")
        copy.run("SELECT webhook_cancel(id) FROM webhook.dead_letters")
        return as_whom, reason, dead

    try:
        copy.run("SELECT webhook_rotate_secret('hook')")
        held = ([[(writer.role,)], []], why, [("hook", why)] * 2)
        assert happens() == held
        copy.run("SELECT webhook_arm()")
        assert happens() == held
        assert copy.rows("SELECT webhook, severity FROM webhook_check() WHERE problem LIKE %s ORDER BY 1", f"{why}%") == [
            ("cast", "warning"), ("hook", "error")
        ]
        copy.run("SELECT webhook_update('hook', owner => 'postgres')")
        assert happens() == ([[(writer.role,), ("postgres",)], [("postgres",)]], None, [])
        assert [row[0] for row in copy.rows("SELECT webhook FROM webhook_check() WHERE problem LIKE %s", f"{why}%")] == ["cast"]
    finally:
        copy.drop()
