"""Who may do what with which object, tried out and compared with a table; and attempts to get more.

After a change that is meant, ACCEPT=1 writes the table anew: to be read before it is committed.
"""

import os
import pathlib
import re

import psycopg
import pytest

from harness import wait_until
from harness.receiver import reply

TABLE = pathlib.Path(__file__).with_name("privileges.txt")
ROLES = ["superuser", "owner", "admin", "member", "monitor", "viewer", "nobody"]
LEGEND = """\
# What each role can do with each object of the extension. owner is that of the database; it has no level.
# schemas: U USAGE, C CREATE. functions: X EXECUTE. sequences: S SELECT, U USAGE.
# tables and views: S SELECT, I INSERT, U UPDATE, D DELETE, T TRUNCATE, R REFERENCES, G TRIGGER.
# A digit that N stands for makes no difference.
"""

MEMBERS = """
    SELECT d.classid::regclass::text, d.objid, o.type, o.identity
    FROM pg_depend AS d
    CROSS JOIN pg_identify_object(d.classid, d.objid, d.objsubid) AS o
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_webhook')
"""


def refused(connection, statement, *arguments):
    """Run a statement that must fail; return its SQLSTATE."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement, arguments or None)
    return caught.value.diag.sqlstate


@pytest.fixture
def people(db, cluster):
    """A connection for each role; the first is a superuser's."""
    names = {role: f"{db.name}_{role}" for role in ROLES[1:]}
    connections = {"superuser": db.connect()}
    for role, name in names.items():
        db.run(f"CREATE ROLE {name} LOGIN")
        db.run(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
        db.run(f"CREATE TABLE {name}.things (id int PRIMARY KEY); ALTER TABLE {name}.things OWNER TO {name}")
        if role in ("admin", "member", "monitor", "viewer"):
            db.run("SELECT webhook_grant(%s, %s)", name, role)
        connections[role] = cluster.connect(db.name, user=name)
    db.run(f"ALTER DATABASE {db.name} OWNER TO {names['owner']}")
    yield connections
    for connection in connections.values():
        connection.close()
    db.run(f"ALTER DATABASE {db.name} OWNER TO postgres")
    for name in names.values():
        db.run(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


# --- the matrix -------------------------------------------------------------------------------------


def attempt(connection, statement):
    """Try a statement and undo it; return its SQLSTATE, None where it works."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute(statement)
    except psycopg.Error as error:
        return error.diag.sqlstate
    return None


def may(connection, statement):
    """Whether it is not for want of a right that a statement fails, nor because nobody could."""
    # not updatable; wrong kind of object; of the executor's own making
    return attempt(connection, statement) not in ("42501", "55000", "42809")


def letters(connection, kind, oid, name):
    """What a role can do with one object."""
    has = lambda function, right: connection.execute(
        f"SELECT pg_catalog.{function}(%s::oid, %s)", [oid, right]
    ).fetchone()[0]
    if kind == "schema":
        tried = {"U": has("has_schema_privilege", "USAGE"), "C": may(connection, f"CREATE TABLE {name}.t ()")}
    elif kind == "function":
        arguments = re.search(r"\((.*)\)$", name)[1]
        nulls = ", ".join(f"NULL::{type}" for type in arguments.split(",") if type)
        call = f"SELECT {name[:name.index('(')]}({nulls})"
        tried = {"X": attempt(connection, call) != "42501"}
    elif kind == "sequence":
        tried = {
            "S": may(connection, f"SELECT last_value FROM {name}"),
            "U": may(connection, f"SELECT pg_catalog.nextval('{name}')"),
        }
    else:
        [column] = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum = 1", [oid]
        ).fetchone()
        tried = {
            "S": may(connection, f"SELECT FROM {name} LIMIT 0"),
            "I": may(connection, f"INSERT INTO {name} DEFAULT VALUES"),
            "U": may(connection, f"UPDATE {name} SET {column} = DEFAULT WHERE false"),
            "D": may(connection, f"DELETE FROM {name} WHERE false"),
            "T": may(connection, f"TRUNCATE {name} CASCADE"),
            "R": has("has_table_privilege", "REFERENCES"),
            "G": has("has_table_privilege", "TRIGGER"),
        }
    return "".join(letter for letter, worked in tried.items() if worked) or "-"


def label(name):
    """A name as the table has it: no digits of partitions, no arguments where there are many."""
    short = re.sub(r"_[0-9]$", "_N", name).replace("pg_catalog.", "")
    return short if len(short) < 70 else short[:short.index("(")] + "(...)"


def test_the_matrix(db, people):
    """Each object of the extension, found in the catalog, tried as each role."""
    rows = {}
    for _, oid, kind, name in db.rows(MEMBERS):
        if kind in ("schema", "function", "sequence", "table", "view"):
            can = [letters(people[role], kind, oid, name) for role in ROLES]
            row = rows.setdefault(f"{kind} {label(name)}", can)
            assert row == can, name
        else:
            assert kind in ("index", "type", "toast table"), (kind, name)
    width = max(map(len, rows))
    line = lambda name, cells: f"{name:{width}}  " + "  ".join(f"{cell:9}" for cell in cells).rstrip() + "\n"
    found = LEGEND + line("", ROLES) + "".join(line(name, rows[name]) for name in sorted(rows))
    if os.environ.get("ACCEPT"):
        TABLE.write_text(found)
    assert found.splitlines() == TABLE.read_text().splitlines()


# What the database's owner reads when it makes a dump.
DUMPED = [f"table webhook.{name}" for name in ("webhook", "watch", "watch_payload", "watch_trigger", "level", "owner", "emitter_role")]


def test_what_the_table_says():
    """Rules that no new object may break, whatever somebody accepts."""
    rows = [re.split(r"\s{2,}", row) for row in TABLE.read_text().splitlines() if not row.startswith("#")]
    assert rows[0][1:] == ROLES
    open_to_all = (
        "schema webhook", "function webhook.capture()", "function webhook.is_database(bigint,oid)", "function webhook.bounds()", "function webhook.obstacles()",
        "function webhook.percentile(bigint[],double precision)", "function webhook.seen_by_reader()", "function webhook.told_to_reader()",
    )
    for name, _, owner, admin, member, monitor, viewer, nobody in rows[1:]:
        if name in open_to_all:
            # what it takes to create a partition of a watched table, and to read a view without a level
            assert owner == admin == member == monitor == viewer == nobody == ("U" if name.startswith("schema") else "X")
            continue
        assert owner == ("S" if name in DUMPED else "-") and nobody == "-", name
        kind = name.split()[0]
        if kind in ("table", "sequence"):
            assert admin == member == monitor == viewer == "-", name
        elif name == "view webhook.unfinished":
            # the bodies of all webhooks
            assert admin == "S" and member == monitor == viewer == "-"
        elif kind == "view":
            every = name == "view webhook.workers"
            assert admin in ("S", "-") and monitor == admin and member == viewer == ("-" if every else admin), name
        else:
            looks = ("function webhook.worker_status()", "function public.webhook_check(text)", "function public.webhook_export()",
                     "function public.webhook_log(...)", "function public.webhook_help(text)")
            assert (viewer == "X") == (name in looks), name
            assert (monitor == "X") == (name in looks or name == "function webhook.workers_status()"), name


# --- rows -------------------------------------------------------------------------------------------


VIEWS = {
    "webhooks": "name", "deliveries": "webhook", "dead_letters": "webhook", "stats": "webhook", "metrics": "webhook",
    "attempts": "delivery_id",
}


@pytest.fixture
def hooks(db, people, receiver):
    """A webhook with a dead letter of the member, and one of the superuser."""
    receiver.default(reply(500))
    create = "SELECT webhook_create(%s, %s, {}, max_retries => 0)"
    with people["member"].transaction():
        people["member"].execute(create.format("'things'"), ["members", receiver.url("/")])
        people["member"].execute("INSERT INTO things VALUES (1)")
    db.run("CREATE TABLE things (id int PRIMARY KEY)")
    db.run(create.format("'things'"), "ours", receiver.url("/"))
    db.run("INSERT INTO things VALUES (1)")
    db.wait_for_status(2, "dead")
    return dict(db.rows("SELECT webhook, id FROM webhook.deliveries"))


def test_rows_of_each_view(db, people, hooks):
    """A member sees what is its own, an admin everything, a viewer what its groups own."""
    everything, own = {"members", "ours"}, {"members"}
    seen = lambda role, view, column: {
        row[0] for row in people[role].execute(f"SELECT {column} FROM webhook.{view}")
    }
    for view, column in VIEWS.items():
        named = (lambda names: {hooks[name] for name in names}) if view == "attempts" else set
        assert seen("admin", view, column) == seen("superuser", view, column) == named(everything)
        assert seen("member", view, column) == named(own)
        assert seen("viewer", view, column) == set()
    db.run(f"GRANT {db.name}_member TO {db.name}_viewer")
    for view, column in VIEWS.items():
        named = (lambda names: {hooks[name] for name in names}) if view == "attempts" else set
        assert seen("viewer", view, column) == named(own)


def test_functions_on_the_webhooks_of_others(db, people, hooks, receiver):
    """To a member they do not exist, whatever it does with them."""
    uuid = db.value("SELECT id::text FROM webhook.webhooks WHERE name = 'ours'")
    member, heard = people["member"], len(receiver.got())
    calls = db.rows("""
        SELECT p.proname, pg_get_function_arguments(p.oid) FROM pg_proc AS p
        JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
        WHERE p.pronargs > 0 AND p.proargnames[1] IN ('webhook', 'delivery_id') AND p.proname <> 'webhook_create'
    """)
    assert {name for name, _ in calls} >= {"webhook_update", "webhook_delete", "webhook_replay", "webhook_cancel"}
    for function, arguments in calls:
        others = [part for part in arguments.split(", ")[1:] if "DEFAULT" not in part]
        values = "".join({"table_name": ", 'things'::regclass", "op": ", 'INSERT'", '"row"': ", ROW(1)"}.get(part.split()[0], ", NULL")
                         for part in others)
        targets = [hooks["ours"]] if arguments.startswith("delivery_id") else ["ours", uuid, uuid.upper()]
        for target in targets:
            assert refused(member, f"SELECT {function}(%s{values})", target) == "42704", (function, target)
    assert len(receiver.got()) == heard
    assert db.value("SELECT count(*) FROM webhook.dead_letters") == 2


def test_an_owner_whose_level_is_revoked(db, people, hooks, receiver):
    """It reads and changes nothing any more. Its webhook goes on, and an admin can end that."""
    db.run(f"SELECT webhook_revoke('{db.name}_member', 'member')")
    member = people["member"]
    for view in VIEWS:
        assert refused(member, f"SELECT FROM webhook.{view}") == "42501"
    for statement in ("SELECT webhook_pause('members')", f"SELECT webhook_cancel({hooks['members']})"):
        assert refused(member, statement) == "42501"
    receiver.default(reply(200))
    member.execute("INSERT INTO things VALUES (2)")
    db.wait_for_status(1)
    people["admin"].execute("SELECT webhook_delete('members')")
    member.execute("INSERT INTO things VALUES (3)")
    assert db.value("SELECT count(*) FROM webhook.deliveries WHERE status = 'delivered'") == 1


def test_what_roles_become_counts_and_not_what_they_were(db, people, hooks):
    """SET ROLE gives up rights as well as it gives them; plans that are kept do not remember."""
    session = people["superuser"]
    names = "SELECT name FROM webhook.webhooks ORDER BY name"
    pause = "SELECT webhook_pause('ours')"
    for _ in range(8):  # often enough for a generic plan
        for role, seen in (("member", ["members"]), ("admin", ["members", "ours"]), ("viewer", [])):
            session.execute(f"SET ROLE {db.name}_{role}")
            assert [row[0] for row in session.execute(names, prepare=True)] == seen
            if role == "admin":
                session.execute(pause)
            else:
                assert refused(session, pause) == ("42704" if role == "member" else "42501")
        session.execute("RESET ROLE")
        assert [row[0] for row in session.execute(names, prepare=True)] == ["members", "ours"]


# --- attempts to get more ---------------------------------------------------------------------------


def test_an_admin_can_give_no_more_than_levels(db, people):
    """No grant option, no role of its own making that has rights elsewhere, none of the tables."""
    admin, nobody = people["admin"], f"{db.name}_nobody"
    for grant in (
        "EXECUTE ON FUNCTION webhook_arm(boolean, boolean)", "SELECT ON webhook.webhooks", "USAGE ON SCHEMA webhook",
    ):
        admin.execute(f"GRANT {grant} TO {nobody}")  # a warning
    assert refused(people["nobody"], "SELECT webhook_arm()") == "42501"
    assert refused(people["nobody"], "SELECT FROM webhook.webhooks") == "42501"
    rights = """
        SELECT c.oid, c.relacl FROM pg_class AS c WHERE relnamespace <> 'webhook'::regnamespace
        UNION ALL SELECT oid, nspacl FROM pg_namespace WHERE nspname <> 'webhook'
        UNION ALL SELECT oid, datacl FROM pg_database
        UNION ALL SELECT oid, proacl FROM pg_proc WHERE NOT starts_with(proname, 'webhook_') AND proname NOT IN ('worker_status', 'workers_status')
        UNION ALL SELECT roleid, ARRAY[]::aclitem[] FROM pg_auth_members
        UNION ALL SELECT oid, ARRAY[]::aclitem[] FROM pg_authid WHERE rolsuper OR rolcreaterole OR rolbypassrls
        ORDER BY 1
    """
    before = db.rows(rights)
    for level in ("viewer", "member", "admin"):
        admin.execute("SELECT webhook_grant(%s, %s)", [nobody, level])
    assert db.rows(rights) == before
    for table in ("webhook.secret", "webhook.level", "webhook.event"):
        assert refused(people["nobody"], f"SELECT FROM {table}") == "42501"
    assert refused(admin, "INSERT INTO webhook.level (role, name, level, schema_usage) VALUES (10, 'postgres', 'admin', false)") == "42501"
    # A superuser stays what it is, whatever level it is given.
    admin.execute("SELECT webhook_grant('postgres', 'viewer')")
    db.run("SELECT webhook_pause(name) FROM webhook.webhooks")
    admin.execute("SELECT webhook_revoke('postgres', 'viewer')")
    db.run("SELECT webhook_arm()")


def test_conditions_of_a_query_see_no_row_that_its_reader_may_not(db, people, hooks):
    """A function that is cheap and talks, in the WHERE of a query on each view."""
    member = people["member"]
    member.execute("""
        CREATE FUNCTION talk(row_text text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
        AS $$ BEGIN RAISE NOTICE '%', row_text; RETURN true; END $$
    """)
    heard = []
    member.add_notice_handler(lambda diagnostic: heard.append(diagnostic.message_primary))
    for view in VIEWS:
        for condition in ("talk(v::text)", "v::text > '' AND talk(v::text)", "talk(v::text) IS NOT NULL"):
            heard.clear()
            [count] = member.execute(f"SELECT count(*) FROM webhook.{view} AS v WHERE {condition}").fetchone()
            assert count == len(heard) == 1, view
            assert "ours" not in heard[0]


SHADOWS = """
    CREATE TABLE {schema}.loot (what text, who text);
    GRANT SELECT, INSERT, DELETE ON {schema}.loot TO PUBLIC;
    GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
    CREATE FUNCTION {schema}.take(what text) RETURNS void LANGUAGE sql
        AS $$ INSERT INTO {schema}.loot VALUES (what, current_user) $$;
"""
FUNCTIONS = {
    # name: arguments, result, what it returns; as specific as those that are meant, or more
    "now": ("", "timestamptz", "pg_catalog.now()"),
    "clock_timestamp": ("", "timestamptz", "pg_catalog.clock_timestamp()"),
    "format": ("text, text", "text", "'x'"),
    "nextval": ("regclass", "bigint", "1::bigint"),
    "pg_has_role": ("oid, text", "boolean", "true"),
    "has_table_privilege": ("oid, oid, text", "boolean", "true"),
    "to_regclass": ("text", "regclass", "NULL::regclass"),
    "pg_visible_in_snapshot": ("xid8, pg_snapshot", "boolean", "true"),
    "pg_current_xact_id": ("", "xid8", "pg_catalog.pg_current_xact_id()"),
    "pg_current_snapshot": ("", "pg_snapshot", "pg_catalog.pg_current_snapshot()"),
    "make_interval": ("double precision", "interval", "interval '1 s'"),
    "gen_random_uuid": ("", "uuid", "pg_catalog.gen_random_uuid()"),
    "lower": ("text", "text", "$1"),
    "round": ("numeric, integer", "numeric", "$1"),
    "count": ("", None, None),
}
OPERATORS = [
    (operator, type)
    for type in ("integer", "bigint", "text", "oid", "timestamptz", "xid8", "boolean", "smallint")
    for operator in ("=", "<>", "<", ">=")
]
# Operands for which PostgreSQL has no operator of exactly these types: such a one would be preferred to its own.
BETTER = [
    ("&", "smallint, integer", "integer"), ("<>", "smallint, integer", "boolean"), ("/", "bigint, numeric", "numeric"),
    ("/", "bigint, double precision", "double precision"), ("||", "bytea, text", "bytea"),
    ("=", "oid, regclass", "boolean"), ("=", "oid, regprocedure", "boolean"),
]


def plant(connection, schema):
    """Functions and operators named as those of pg_catalog, which note who calls them."""
    connection.execute(SHADOWS.format(schema=schema))
    for name, (arguments, result, value) in FUNCTIONS.items():
        if result:
            connection.execute(
                f"CREATE FUNCTION {schema}.{name}({arguments}) RETURNS {result} LANGUAGE sql"
                f" AS $$ SELECT {schema}.take('{name}'); SELECT {value} $$"
            )
    for number, (operator, type) in enumerate(OPERATORS):
        connection.execute(
            f"CREATE FUNCTION {schema}.op_{number}({type}, {type}) RETURNS boolean LANGUAGE sql"
            f" AS $$ SELECT {schema}.take('{operator} {type}'); SELECT true $$"
        )
        connection.execute(
            f"CREATE OPERATOR {schema}.{operator} (leftarg = {type}, rightarg = {type}, function = {schema}.op_{number})"
        )
    for number, (operator, types, result) in enumerate(BETTER):
        connection.execute(
            f"CREATE FUNCTION {schema}.better_{number}({types}) RETURNS {result} LANGUAGE sql"
            f" AS $$ SELECT {schema}.take('{operator} {types}'); SELECT NULL::{result} $$"
        )
        left, right = types.split(", ")
        connection.execute(
            f"CREATE OPERATOR {schema}.{operator} (leftarg = {left}, rightarg = {right}, function = {schema}.better_{number})"
        )


def everyday(db, connection, receiver, table):
    """Each function and view once."""
    connection.execute(f"SELECT webhook_create('shadowed', '{receiver.url('/')}', '{table}', max_retries => 0)")
    connection.execute(f"SELECT webhook_unwatch('shadowed', '{table}')")
    connection.execute(f"SELECT webhook_watch('shadowed', '{table}', columns => '{{id}}')")
    connection.execute(f"INSERT INTO {table} VALUES (71); UPDATE {table} SET id = 72 WHERE id OPERATOR(pg_catalog.=) 71")
    db.settled()
    [delivery] = db.rows("SELECT max(id) FROM webhook.deliveries WHERE webhook = 'shadowed'")[0]
    for statement in (
        "SELECT webhook_update('shadowed', description => 'x')", "SELECT webhook_pause('shadowed')",
        "SELECT webhook_resume('shadowed')", "SELECT webhook_test('shadowed')",
        f"SELECT webhook_replay({delivery})", f"SELECT webhook_cancel({delivery})",
        "SELECT webhook_replay_all('shadowed')", "SELECT webhook_replay_all('shadowed', status => 'delivered')",
        "SELECT webhook_cancel_all('shadowed')", "SELECT webhook_wait(max(id)) FROM webhook.jobs",
        "SELECT webhook_cancel_job(max(id)) FROM webhook.jobs", "SELECT j FROM webhook.jobs AS j",
        *(f"SELECT v FROM webhook.{view} AS v" for view in (*VIEWS, "worker")),
        "SELECT webhook_delete('shadowed')",
    ):
        connection.execute(statement)


def test_objects_that_shadow_those_of_the_system(db, people, receiver):
    """In the search path of a victim before pg_catalog, and in its temporary schema: none is called."""
    evil = f"{db.name}_nobody"
    plant(people["nobody"], evil)
    for role in ("member", "superuser"):
        victim = people[role]
        table = f"{db.name}_{role}.things" if role != "superuser" else f"{db.name}_admin.things"
        for name in ("pg_class", "pg_roles", "pg_extension", "pg_depend", "pg_proc", "webhook"):
            victim.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM pg_catalog.pg_namespace")
        victim.execute(f"SET search_path = {evil}, pg_temp, public, pg_catalog")
        victim.execute("SELECT now(), 1 = 1")
        assert len(victim.execute(f"DELETE FROM {evil}.loot RETURNING what").fetchall()) == 2  # it works
        everyday(db, victim, receiver, table)
        if role == "superuser":
            for level in ("viewer", "admin"):
                victim.execute(f"SELECT webhook_grant('{evil}', '{level}')")
            victim.execute(f"SELECT webhook_revoke('{evil}', 'admin')")
        victim.execute("RESET search_path; DISCARD TEMP")
    assert db.rows(f"SELECT DISTINCT what, who FROM {evil}.loot") == []


def test_planted_before_the_extension(cluster, make_db):
    """What somebody has put into the schema of the functions is not used by the installation."""
    db = make_db(cluster, extension=False)
    db.run("GRANT CREATE ON SCHEMA public TO PUBLIC")
    evil = f"{db.name}_evil"
    db.run(f"CREATE ROLE {evil} LOGIN")
    with cluster.connect(db.name, user=evil) as connection:
        plant(connection, "public")
        connection.execute("CREATE TABLE public.webhook (id int); CREATE TYPE public.uuid AS (a int)")
        db.run("SET search_path = public, pg_catalog")
        db.run("CREATE EXTENSION pg_webhook SCHEMA public")
        db.run("RESET search_path; SET search_path = pg_catalog")
        assert db.rows("SELECT DISTINCT what, who FROM public.loot") == []
        used = """
            SELECT pg_describe_object(classid, objid, 0), pg_describe_object(refclassid, refobjid, 0) FROM pg_depend
            WHERE classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_class'::regclass)
              AND (refclassid = 'pg_operator'::regclass AND refobjid IN (
                      SELECT oid FROM pg_operator WHERE oprnamespace = 'public'::regnamespace)
                   OR refclassid = 'pg_type'::regclass AND refobjid IN (
                      SELECT oid FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typname <> 'loot')
                      AND objid NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
                   OR refclassid = 'pg_proc'::regclass AND refobjid IN (
                      SELECT oid FROM pg_proc WHERE proowner = (SELECT oid FROM pg_roles WHERE rolname = %s)))
        """
        assert db.rows(used, evil) == []
        db.run("SELECT v FROM webhook.webhooks AS v")
        assert db.value("SELECT count(*) FROM pg_depend WHERE objid = 'public.webhook'::regclass AND deptype = 'e'") == 0
        db.run("SET search_path = public, pg_catalog")
        db.run("ALTER EXTENSION pg_webhook UPDATE")
        db.run("DROP EXTENSION pg_webhook; RESET search_path")
        # A function in the place of one of ours ends the installation, whose owner it would keep.
        connection.execute("CREATE FUNCTION public.webhook_pause(webhook text) RETURNS void LANGUAGE sql AS ''")
        assert refused(db.connection, "CREATE EXTENSION pg_webhook SCHEMA public") in ("42723", "55000")
        assert db.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'webhook'") == 0
    db.run(f"DROP OWNED BY {evil} CASCADE; DROP ROLE {evil}")
    db.drop()


def test_forged_identities(db, people, hooks, receiver):
    """What is watched by others leads nowhere: in a trigger, as a partition, as a name of one's own."""
    member = people["member"]
    watch = db.value("SELECT v.id FROM webhook.watch AS v JOIN webhook.webhook AS w ON w.uuid = v.webhook WHERE w.name = 'ours'")
    member.execute(
        f'CREATE TRIGGER "_webhook_{watch}_insert" AFTER INSERT ON things FOR EACH ROW'
        f" EXECUTE FUNCTION webhook.capture('{watch}')"
    )
    # A trigger of one's own name is one's own; that of a webhook stays that of its webhook.
    member.execute("CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    member.execute(
        f'CREATE TRIGGER "_webhook_{watch}_update" AFTER INSERT ON things FOR EACH ROW EXECUTE FUNCTION own()'
    )
    receiver.default(reply(200))
    member.execute("INSERT INTO things VALUES (50)")
    db.wait_for_status(1)
    assert db.rows("SELECT webhook FROM webhook.deliveries WHERE status = 'delivered'") == [("members",)]
    # A name that somebody else uses is free, and nobody learns of it; a uuid cannot be a name.
    create = "SELECT webhook_create(%s, %s)"
    member.execute(create, ["ours", receiver.url("/")])
    member.execute("SELECT webhook_delete('ours')")
    assert db.value("SELECT count(*) FROM webhook.webhooks WHERE name = 'ours'") == 1
    uuid = db.value("SELECT id::text FROM webhook.webhooks WHERE name = 'ours'")
    assert refused(member, create, uuid, receiver.url("/")) == "22023"
    # The owner is who is asked for, not who asks: no argument names one.
    assert db.rows("SELECT DISTINCT owner::text FROM webhook.webhooks WHERE name = 'members'") == [(f"{db.name}_member",)]


def test_settings_that_only_superusers_change(db, people):
    """The address policy and the limits are the server's."""
    for name in ("allow_http", "allowed_networks", "enabled", "ca_file", "max_payload_bytes", "log_level"):
        for role in ("owner", "admin", "member"):
            # The others are those of the configuration file only.
            expected = "42501" if name == "max_payload_bytes" else "55P02"
            assert refused(people[role], f"SET pg_webhook.{name} = DEFAULT") == expected, name
            for scope in (f"DATABASE {db.name}", f"ROLE {db.name}_{role}"):
                # The owner may change the database and each role itself, but not what they do not see.
                may = (role == "owner" or "ROLE" in scope) and name in ("allow_http", "enabled", "log_level")
                expected = "55P02" if may else "42501"
                assert refused(people[role], f"ALTER {scope} SET pg_webhook.{name} FROM CURRENT") == expected, (role, name, scope)


def test_the_extension_cannot_be_taken_apart(db, people):
    for role in ROLES[1:]:
        for statement in (
            "CREATE TRIGGER t BEFORE INSERT ON webhook.attempt FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "DROP EXTENSION pg_webhook CASCADE", "ALTER EXTENSION pg_webhook DROP VIEW webhook.webhooks",
            "DROP SCHEMA webhook CASCADE", "ALTER TABLE webhook.webhook OWNER TO CURRENT_USER",
            "CREATE OR REPLACE VIEW webhook.worker AS SELECT 1", "SELECT FROM webhook.cursor FOR SHARE",
            "COMMENT ON VIEW webhook.webhooks IS ''", "CREATE FUNCTION webhook.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SECURITY LABEL ON VIEW webhook.webhooks IS ''", "ALTER FUNCTION webhook_create COST 1",
        ):
            # There is no provider of labels that could be asked.
            expected = "22023" if "LABEL" in statement else "42501"
            assert refused(people[role], statement) == expected, (role, statement)
    wait_until(db.worker, "the worker")
