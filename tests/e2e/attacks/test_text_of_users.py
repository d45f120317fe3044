"""A text that somebody wrote is parsed once, by its author, whoever makes its trigger again."""

import psycopg
import pytest

#: Types whose input runs code of their owner: statements that make `mem.kind`, and a literal of it in a condition.
KINDS = {
    "domain-in-array": ("CREATE DOMAIN member.dom AS int CHECK (member.spy(value))", "NEW.id = ANY ('{1}'::member.dom[])"),
    "domain": ("CREATE DOMAIN member.dom AS int CHECK (member.spy(value))", "NEW.id = member.dom '1'"),
    "domain-over-domain": (
        "CREATE DOMAIN member.inner_dom AS int CHECK (member.spy(value)); CREATE DOMAIN member.dom AS member.inner_dom",
        "NEW.id = ANY ('{1}'::member.dom[])",
    ),
    "composite": (
        "CREATE DOMAIN member.dom AS int CHECK (member.spy(value)); CREATE TYPE member.comp AS (a member.dom)",
        "('(1)'::member.comp).a = NEW.id",
    ),
    "array-of-composite": (
        "CREATE DOMAIN member.dom AS int CHECK (member.spy(value)); CREATE TYPE member.comp AS (a member.dom)",
        "(('{\"(1)\"}'::member.comp[])[1]).a = NEW.id",
    ),
    "domain-over-composite": (
        "CREATE TYPE member.comp AS (a int); CREATE FUNCTION member.look(c member.comp) RETURNS bool LANGUAGE sql"
        " AS 'SELECT member.spy((c).a)'; CREATE DOMAIN member.dom AS member.comp CHECK (member.look(value))",
        "('(1)'::member.dom).a = NEW.id",
    ),
    "domain-over-array": (
        "CREATE DOMAIN member.dom AS int[] CHECK (member.spy(value[1]))", "NEW.id = ANY ('{1}'::member.dom)",
    ),
    "range-of-domain": (
        "CREATE DOMAIN member.dom AS int CHECK (member.spy(value));"
        " CREATE TYPE member.span AS RANGE (subtype = member.dom)", "lower('[1,2)'::member.span) = NEW.id",
    ),
    "multirange-of-domain": (
        "CREATE DOMAIN member.dom AS int CHECK (member.spy(value));"
        " CREATE TYPE member.span AS RANGE (subtype = member.dom)",
        "lower('{[1,2)}'::member.span_multirange) = NEW.id",
    ),
    "domain-over-range": (
        "CREATE FUNCTION member.look(r int4range) RETURNS bool LANGUAGE sql AS 'SELECT member.spy(lower(r))';"
        " CREATE DOMAIN member.dom AS int4range CHECK (member.look(value))", "lower('[1,2)'::member.dom) = NEW.id",
    ),
}

#: Ways in which a trigger may be made again, and who may ask for it.
AGAIN = {
    "update-url": "SELECT webhook_update('hook', url => 'http://127.0.0.1:9/again')",
    "update-events": "SELECT webhook_update('hook', events => '{INSERT,UPDATE}')",
    "update-columns": "SELECT webhook_update('hook', columns => '{id}', events => '{INSERT,UPDATE}')",
    "update-payload": "SELECT webhook_update('hook', payload_columns => '{id}')",
    "rename": "SELECT webhook_update('hook', name => 'other')",
    "disable": "SELECT webhook_update('hook', enabled => false)",
    "pause": "SELECT webhook_pause('hook')",
    "delete": "SELECT webhook_delete('hook')",
    "unwatch": "SELECT webhook_unwatch('hook', 'member.own')",
    "preview": """SELECT * FROM webhook_preview('hook', 'INSERT', '{"id": 1}')""",
    "check": "SELECT * FROM webhook_check()",
    "other-owner": "SELECT webhook_update('hook', owner => 'stranger')",
    "own": "SELECT webhook_update('hook', owner => current_user::regrole)",
    "other-table": "SELECT webhook_update('hook', table_name => 'member.own')",
    "resume": "SELECT webhook_resume('hook')",
    "replay": "SELECT webhook_replay_all('hook')",
    "arm": "SELECT webhook_arm()",
    "arm-keep": "SELECT webhook_arm(keep => true)",
    "arm-new": "SELECT webhook_arm(new => true)",
    "given-away": "REASSIGN OWNED BY member TO admin",
    "owner-of-the-table": "ALTER TABLE member.own OWNER TO stranger",
    "attached": "CREATE TABLE admin.whole (id int) PARTITION BY LIST (id); ALTER TABLE admin.whole ATTACH PARTITION member.own DEFAULT",
    "inherited": "CREATE TABLE admin.child () INHERITS (member.own)",
    "rewritten": "ALTER TABLE member.own ADD note text DEFAULT random()::text",
    "replica-triggers": "ALTER TABLE member.own ENABLE ALWAYS TRIGGER ALL",
    "update-of-the-extension": "ALTER EXTENSION pg_webhook UPDATE",
    "new-name-of-the-table": "ALTER TABLE member.own RENAME TO renamed",
}


#: What a superuser gives by them, or makes.
GIVING = ("own", "given-away", "attached", "inherited")


def set_out(stage, kind="domain-in-array"):
    make, condition = KINDS[kind]
    stage.spy("member")
    stage.as_("member").execute(make)
    stage.as_("member").execute("CREATE TABLE member.own (id int); GRANT INSERT ON member.own TO writer")
    return condition


@pytest.mark.parametrize("kind", KINDS)
def test_a_literal_is_read_by_its_author(stage, kind):
    condition = set_out(stage, kind)
    stage.webhook("member", table_name="member.own", events="{INSERT}", condition=condition)
    # Literals of domains themselves are made when a row is written, by whoever does.
    assert ("member", "member") in stage.spied() or kind.startswith("domain-over") or kind == "domain"


@pytest.mark.parametrize("kind", ["domain-in-array", "composite"])
def test_a_literal_of_a_further_table_is_read_by_its_author(stage, kind):
    condition = set_out(stage, kind)
    stage.webhook("member")
    stage.run("member", "SELECT webhook_watch('hook', 'member.own', '{INSERT}', condition => %s)", condition)
    assert ("member", "member") in stage.spied()


def test_a_literal_of_a_changed_condition_is_read_by_its_author(stage):
    condition = set_out(stage)
    stage.webhook("member", table_name="member.own", events="{INSERT}")
    stage.run("member", "SELECT webhook_update('hook', condition => %s)", condition)
    assert ("member", "member") in stage.spied()


@pytest.mark.parametrize("again", AGAIN)
def test_nobody_else_reads_it_again(stage, again):
    condition = set_out(stage)
    stage.webhook("member", table_name="member.own", events="{INSERT}", condition=condition)
    before = len(stage.spied())
    # Some of it only the superuser or the table's owner may; what is refused reads nothing either.
    for who in ("admin", "postgres", "member"):
        stage.tries(who, AGAIN[again])
        assert len(stage.spied()) == before, who
        if who == "admin":
            stage.ask()
        if who == "postgres" and again in GIVING:
            stage.takes_these_rights()


def test_a_condition_of_an_admin_is_no_way_to_the_owner(stage):
    """An admin manages the webhooks of others, and brings them no code."""
    set_out(stage)
    stage.webhook("member", table_name="member.own", events="{INSERT}")
    stage.spy("admin")
    stage.as_("admin").execute("CREATE DOMAIN admin.dom AS int CHECK (admin.spy(value))")
    condition = "NEW.id = ANY ('{1}'::admin.dom[])"
    assert stage.tries("admin", "SELECT webhook_update('hook', condition => %s)", condition) == "42501"


INJECTION = r"""NEW.note = '\')) EXECUTE FUNCTION member.trg(); ALTER ROLE member SUPERUSER; CREATE TRIGGER zz
    AFTER INSERT ON member.inj FOR EACH ROW WHEN ((true --'"""


@pytest.mark.parametrize("again", ["update-url", "update-events", "preview"])
def test_other_rules_for_strings_make_no_other_statements(stage, again):
    member = stage.as_("member")
    member.execute("CREATE TABLE member.own (id int, note text)")
    member.execute("CREATE TABLE member.inj (id int, note text)")
    member.execute("CREATE FUNCTION member.trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    member.execute("SET standard_conforming_strings = off; SET escape_string_warning = off; SET backslash_quote = on")
    stage.webhook("member", table_name="member.own", events="{INSERT}", condition=INJECTION)
    member.execute("RESET ALL")
    for who in ("admin", "postgres", "member"):
        stage.tries(who, AGAIN[again])
    assert stage.value("postgres", "SELECT count(*) FROM pg_trigger WHERE tgname = 'zz'") == 0


def test_a_condition_is_no_second_statement(stage):
    member = stage.as_("member")
    member.execute("CREATE TABLE member.own (id int, note text)")
    for condition in ("true)) EXECUTE FUNCTION x(); --", "true; SELECT 1", "true) OR (true", "1 AS x", "true, false", ""):
        with pytest.raises(psycopg.Error) as caught:
            stage.webhook("member", f"h{len(condition)}", table_name="member.own", condition=condition or ";")
        assert caught.value.sqlstate == "42601"


@pytest.mark.parametrize(
    "setting, condition, row",
    [
        ("DateStyle = 'ISO, DMY'", "NEW.day = '02/03/2026'", "('2026-03-02', 1)"),
        ("search_path = member, public", "is_one(NEW.n)", "('2026-01-01', 1)"),
        ("search_path = member, pg_catalog, public", "NEW.n ### 1", "('2026-01-01', 1)"),
        ("standard_conforming_strings = off; SET escape_string_warning = off", r"NEW.n = length('\101')", "('2026-01-01', 1)"),
        ("TimeZone = 'Asia/Kathmandu'", "NEW.at = '2026-01-01 05:45'", "('2026-01-01', 1)"),
        ("IntervalStyle = 'sql_standard'", "NEW.n = extract(day FROM interval '-1 2:00' + interval '2 days 4:00')::int", "('2026-01-01', 1)"),
    ],
)
def test_a_condition_keeps_its_meaning(stage, setting, condition, row):
    member = stage.as_("member")
    member.execute(
        "CREATE TABLE member.own (day date, n int, at timestamptz DEFAULT '2026-01-01 00:00+00');"
        " CREATE FUNCTION member.is_one(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 = 1';"
        " CREATE OPERATOR member.### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)"
    )
    member.execute(f"SET {setting}")
    stage.webhook("member", table_name="member.own", events="{INSERT}", condition=condition)
    member.execute("RESET ALL")
    member.execute(f"INSERT INTO member.own VALUES {row}")
    for who, events in (("admin", "INSERT,UPDATE"), ("postgres", "INSERT"), ("member", "INSERT,UPDATE")):
        assert stage.tries(who, "SELECT webhook_update('hook', url => %s)", f"http://127.0.0.1:9/{who}") is None
        # An admin has no right on the table.
        refused = "42501" if who == "admin" else None
        assert stage.tries(who, "SELECT webhook_update('hook', events => %s)", f"{{{events}}}") == refused
    member.execute(f"INSERT INTO member.own VALUES {row}")
    member.execute("INSERT INTO member.own (day, n, at) VALUES ('1999-09-09', 99, '1999-09-09')")
    assert stage.value("member", "SELECT count(*) FROM webhook.deliveries WHERE event_type = 'INSERT'") == 2


def test_a_renamed_column_keeps_its_condition(stage):
    member = stage.as_("member")
    member.execute("CREATE TABLE member.own (n int)")
    stage.webhook("member", table_name="member.own", events="{INSERT}", condition="NEW.n = 1")
    member.execute("ALTER TABLE member.own RENAME n TO m")
    stage.run("member", "SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    member.execute("INSERT INTO member.own VALUES (1), (2); UPDATE member.own SET m = 1 WHERE m = 2")
    assert stage.value("member", "SELECT count(*) FROM webhook.deliveries") == 2


#: What a DDL audit does in many places: it writes without naming a schema.
AUDIT = """
    CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO ddl_log VALUES (tg_tag);
    EXCEPTION WHEN undefined_table THEN NULL; END$$;
"""
EVENTS = ["ddl_command_start", "ddl_command_end", "sql_drop"]


def done_with_audit(stage):
    for event in EVENTS:
        stage.superuser.execute(f"DROP EVENT TRIGGER {event}")
    stage.superuser.execute("DROP FUNCTION public.log_ddl()")


DDL_OF_OURS = {
    "create": "SELECT webhook_create('x', 'http://127.0.0.1:9/', 'member.own')",
    "watch": "SELECT webhook_watch('hook', 'member.other')",
    "update-events": "SELECT webhook_update('hook', events => '{INSERT}')",
    "update-condition": "SELECT webhook_update('hook', condition => 'NEW.id > 1', events => '{INSERT}')",
    "unwatch": "SELECT webhook_unwatch('hook', 'member.own')",
    "delete": "SELECT webhook_delete('hook')",
}


@pytest.mark.parametrize("statement", DDL_OF_OURS)
def test_an_audit_of_ddl_is_no_way_to_our_owner(stage, statement):
    stage.spy("member")
    stage.as_("member").execute("""
        CREATE TABLE member.ddl_log (tag text);
        CREATE FUNCTION member.logged() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM member.spy(1); RETURN NEW; END';
        CREATE TRIGGER logged BEFORE INSERT ON member.ddl_log FOR EACH ROW EXECUTE FUNCTION member.logged();
        CREATE TABLE member.own (id int); CREATE TABLE member.other (id int);
    """)
    stage.webhook("member", table_name="member.own")
    stage.superuser.execute(AUDIT)
    for event in EVENTS:
        stage.superuser.execute(f"CREATE EVENT TRIGGER {event} ON {event} EXECUTE FUNCTION public.log_ddl()")
    stage.as_("member").execute("SET search_path = member, public")
    stage.run("member", DDL_OF_OURS[statement])
    done_with_audit(stage)


def test_a_change_of_levels_is_no_way_to_our_owner(stage):
    stage.spy("admin")
    stage.as_("admin").execute("""
        CREATE TABLE admin.ddl_log (tag text);
        CREATE FUNCTION admin.logged() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM admin.spy(1); RETURN NEW; END';
        CREATE TRIGGER logged BEFORE INSERT ON admin.ddl_log FOR EACH ROW EXECUTE FUNCTION admin.logged();
    """)
    stage.superuser.execute(AUDIT)
    for event in EVENTS:
        stage.superuser.execute(f"CREATE EVENT TRIGGER {event} ON {event} EXECUTE FUNCTION public.log_ddl()")
    stage.as_("admin").execute("SET search_path = admin, public")
    stage.run("admin", "SELECT webhook_grant('writer', 'viewer')")
    stage.run("admin", "SELECT webhook_revoke('writer', 'viewer')")
    done_with_audit(stage)
