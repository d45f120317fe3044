"""What users write is read once, with the rights and settings of whoever writes it, and gives nobody more rights.

Each attack ends in the same two questions: has any role more rights than before, and has code of the attacker run as
anybody else. The spy is a function of the attacker's that notes as whom it runs, and takes what it can get.
"""

import json
import re

import psycopg
import pytest

from harness.status import OF_ENDPOINTS

URL = "http://127.0.0.1:9/"

ROLES = """
    SELECT format('%s %s', 'role', r) FROM pg_roles AS r WHERE rolname !~ '^pg_'
    UNION ALL
    SELECT format('%s in %s: %s', m.member::regrole, m.roleid::regrole, m.admin_option) FROM pg_auth_members AS m
"""
OBJECTS = """
    SELECT 'class' || oid, relowner::regrole::text, relacl::text FROM pg_class
    UNION ALL SELECT 'proc' || oid, proowner::regrole::text, proacl::text FROM pg_proc
    UNION ALL SELECT 'type' || oid, typowner::regrole::text, typacl::text FROM pg_type
    UNION ALL SELECT 'namespace' || oid, nspowner::regrole::text, nspacl::text FROM pg_namespace
    UNION ALL SELECT 'database' || oid, datdba::regrole::text, datacl::text FROM pg_database
"""


class Place:
    """A database with a member (mem), an admin (adm), somebody with tables (dev), and a writer (wri)."""

    def __init__(self, db, cluster):
        self.db, self.names, self.of = db, {}, {}
        db.run("CREATE TABLE seen (author text, ran_as text, what text); GRANT INSERT ON seen TO PUBLIC")
        for short in ("mem", "adm", "dev", "wri"):
            name = self.names[short] = f"{db.name}_{short}"
            db.run(f"CREATE ROLE {name} LOGIN; CREATE SCHEMA {name} AUTHORIZATION {name}")
            self.of[short] = cluster.connect(db.name, user=name)
        db.run("SELECT webhook_grant(%s, 'member'), webhook_grant(%s, 'admin')", self.names["mem"], self.names["adm"])
        self.of["super"] = db.connect()
        self.begin()

    def begin(self):
        """From here on nobody may get more rights."""
        self.before = self.rights()

    def run(self, who, statement, *arguments):
        """Run as a role; {mem} and the like stand for names."""
        return self.of[who].execute(self.text(statement), arguments or None)

    def text(self, statement):
        for short, name in self.names.items():
            statement = statement.replace(f"{{{short}}}", name)
        return statement

    def fails(self, who, statement, *arguments):
        """Run what must fail; return the error's diagnostics."""
        with pytest.raises(psycopg.Error) as caught:
            self.run(who, statement, *arguments)
        return caught.value.diag

    def rights(self):
        return set(self.db.rows(ROLES)), {row[0]: row[1:] for row in self.db.rows(OBJECTS)}

    def ran_as(self):
        """Who the code of each author has run as."""
        return {(author, ran_as) for author, ran_as in self.db.rows("SELECT author, ran_as FROM seen")}

    def payloads(self):
        rows = self.db.rows("SELECT payload FROM webhook.deliveries ORDER BY id")
        return [json.loads(payload) for (payload,) in rows]

    def close(self):
        for connection in self.of.values():
            connection.close()
        for name in self.names.values():
            self.db.run(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.fixture
def place(db, cluster):
    place = Place(db, cluster)
    yield place
    roles, objects = place.before
    now = place.rights()
    assert now[0] == roles
    assert {key: held for key, held in now[1].items() if key in objects} == {
        key: held for key, held in objects.items() if key in now[1]
    }
    assert all(author == ran_as for author, ran_as in place.ran_as()), place.ran_as()
    place.close()


SPY = """
    CREATE FUNCTION {author}.spy(what text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.seen VALUES ('{author}', current_user, what);
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            EXECUTE 'ALTER ROLE {author} SUPERUSER';
        END IF;
        RETURN true;
    END $$;
"""

# Types whose input, or whose cast, runs what the member has written.
TYPES = SPY.replace("{author}", "{mem}") + """
    CREATE FUNCTION {mem}.evil(v int) RETURNS boolean LANGUAGE sql AS $$ SELECT {mem}.spy('check') $$;
    CREATE DOMAIN {mem}.dom AS int CHECK ({mem}.evil(value));
    CREATE DOMAIN {mem}.over AS {mem}.dom;
    CREATE DOMAIN {mem}.list AS {mem}.dom[];
    CREATE TYPE {mem}.pair AS (a {mem}.dom, b text);
    CREATE TYPE {mem}.nested AS (p {mem}.pair, l {mem}.over[]);
    CREATE TYPE {mem}.span AS RANGE (subtype = {mem}.dom, multirange_type_name = {mem}.spans);
    CREATE TYPE {mem}.mood AS ENUM ('good', 'bad');
    CREATE FUNCTION {mem}.moody(t text) RETURNS {mem}.pair LANGUAGE plpgsql AS
        $$ BEGIN PERFORM {mem}.spy('cast'); RETURN ROW(1::{mem}.dom, t)::{mem}.pair; END $$;
    CREATE CAST (text AS {mem}.pair) WITH FUNCTION {mem}.moody(text) AS IMPLICIT;
    CREATE FUNCTION {mem}.given(v int, w int DEFAULT length({mem}.spy('default')::text)) RETURNS boolean LANGUAGE sql AS
        $$ SELECT v IS NOT NULL $$;
    CREATE FUNCTION {mem}.same(int, int) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RETURN {mem}.spy('operator'); END $$;
    CREATE OPERATOR {mem}.= (LEFTARG = int, RIGHTARG = int, FUNCTION = {mem}.same);
    CREATE TABLE {mem}.own (id int, note text, day date);
"""

LITERALS = {
    "array of a domain": "NEW.id = ANY ('{1}'::{mem}.dom[])",
    "array of a domain over a domain": "NEW.id = ANY ('{1}'::{mem}.over[])",
    "domain over an array": "NEW.id = ANY ('{1}'::{mem}.list)",
    "composite": "('(1,x)'::{mem}.pair) IS NOT NULL",
    "composite in a composite": "('(\"(1,x)\",\"{2}\")'::{mem}.nested) IS NOT NULL",
    "array of composites": "cardinality('{\"(1,x)\"}'::{mem}.pair[]) = 1",
    "range": "'[1,2]'::{mem}.span IS NOT NULL",
    "multirange": "'{[1,2]}'::{mem}.spans IS NOT NULL",
    "array of ranges": "cardinality('{\"[1,2]\"}'::{mem}.span[]) = 1",
    "array of an enum": "'good' = ANY ('{good}'::{mem}.mood[])",
    "typed by its prefix": "{mem}.list '{1}' IS NOT NULL",
    "typed by its function": "NEW.id = ANY (CAST('{1}' AS {mem}.dom[]))",
    "cast": "('x'::text::{mem}.pair) IS NOT NULL",
    "implicit cast in a comparison": "(ROW('(1,x)'::{mem}.pair) IS NOT NULL)",
    "default of a function": "{mem}.given(NEW.id)",
    "operator found by search_path": "NEW.id = 1",
    "function found by search_path": "spy('called')",
}


def everyday(place, row):
    """Each of those who may, does each thing that once made the triggers again."""
    for who in ("mem", "adm", "super"):
        for statement in (
            "SELECT webhook_update('hook', url => 'http://127.0.0.1:9/other')",
            "SELECT webhook_update('hook', events => '{INSERT,UPDATE}')",
            "SELECT webhook_update('hook', columns => '{id}')",
            "SELECT webhook_update('hook', payload_columns => '{id,note}')",
            "SELECT webhook_update('hook', columns => '{}', payload_columns => '{}')",
            "SELECT webhook_update('hook', events => '{INSERT}')",
            "SELECT webhook_update('hook', enabled => false), webhook_update('hook', enabled => true)",
            "SELECT * FROM webhook_check('hook')",
            "SELECT tables, health FROM webhook.webhooks",
        ):
            try:
                place.run(who, statement)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
                # An admin has no right on the table, which it needs to change what of it is watched.
                assert who == "adm", statement
        place.run(who, f"SELECT * FROM webhook_preview('hook', 'INSERT', '{row}')")


@pytest.mark.parametrize("kind", LITERALS)
def test_what_a_condition_evaluates_runs_as_its_author(place, kind):
    """When it is given, and never again: by nobody who changes, looks at or removes the webhook."""
    place.run("mem", TYPES)
    place.run("mem", "SET search_path = {mem}, pg_catalog, public")
    place.run("mem", "SELECT webhook_create('hook', %s, 'own', '{INSERT}', condition => %s)", URL, place.text(LITERALS[kind]))
    place.run("mem", "RESET search_path")
    everyday(place, '{"id": 1}')
    place.run("mem", "INSERT INTO {mem}.own VALUES (1)")
    assert len(place.payloads()) == 1
    place.run("super", "SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    place.run("super", "SELECT webhook_unwatch('hook', '" + place.names["mem"] + ".own')")
    place.run("adm", "SELECT webhook_delete('hook')")


def test_a_literal_is_evaluated_at_all(place):
    """The attack of the test above is one: the member's own CREATE TRIGGER would run it too."""
    place.run("mem", TYPES)
    place.run("mem", "SELECT webhook_create('hook', %s, '{mem}.own', '{INSERT}', condition => %s)".replace("{mem}", place.names["mem"]),
              URL, place.text(LITERALS["array of a domain"]))
    assert place.ran_as() == {(place.names["mem"], place.names["mem"])}


INJECTION = (
    r"NEW.note = '\')) EXECUTE FUNCTION {mem}.trg(); ALTER ROLE {mem} SUPERUSER;"
    r" CREATE TRIGGER zz AFTER INSERT ON {mem}.own FOR EACH ROW WHEN ((true --'"
)


@pytest.mark.parametrize("who", ["mem", "adm", "super"])
def test_a_condition_is_not_read_again_under_other_settings(place, who):
    """What is one expression with standard_conforming_strings off is several statements with it on."""
    place.run("mem", TYPES + "CREATE FUNCTION {mem}.trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';")
    if who == "adm":
        place.run("mem", "GRANT TRIGGER, SELECT ON {mem}.own TO {adm}; GRANT USAGE ON SCHEMA {mem} TO {adm}")
        place.begin()
    place.run("mem", "SET standard_conforming_strings = off; SET escape_string_warning = off")
    place.run("mem", "SELECT webhook_create('hook', %s, %s, '{INSERT}', condition => %s)",
              URL, place.text("{mem}.own"), place.text(INJECTION))
    trees = "SELECT tgname, tgqual::text FROM pg_trigger WHERE tgrelid = %s::regclass"
    before = place.db.rows(trees, place.text("{mem}.own"))
    place.run(who, "SET standard_conforming_strings = on")
    for statement in (
        "SELECT webhook_update('hook', url => 'http://127.0.0.1:9/other')",
        "SELECT webhook_update('hook', columns => '{}')",
        "SELECT webhook_update('hook', events => '{INSERT,UPDATE}')",
        "SELECT webhook_preview('hook', 'UPDATE', '{\"id\": 1}', '{\"id\": 2}')",
    ):
        place.run(who, statement)
    after = place.db.rows(trees, place.text("{mem}.own"))
    assert set(before) < set(after) and len(after) == 2
    # but for where in the text each part stood
    assert len({re.sub(r":location -?\d+", "", tree) for _, tree in after}) == 1
    # Given again, it is read again, as what it is now: no expression.
    place.run("mem", "SET standard_conforming_strings = on")
    again = "SELECT webhook_update('hook', condition => $c$" + INJECTION + "$c$)"
    assert place.fails("mem" if who == "adm" else who, again).sqlstate == "42601"


def test_a_condition_keeps_its_meaning(place):
    """DateStyle, search_path and names are those of its author's call, whoever adds an event later."""
    place.run("mem", TYPES + """
        CREATE FUNCTION {mem}.wanted(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 10';
        SET search_path = {mem}, public; SET DateStyle = 'SQL, DMY';
    """)
    place.run("super", "CREATE FUNCTION public.wanted(int) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
    place.run("mem", "SELECT webhook_create('hook', %s, 'own', '{INSERT}',"
              " condition => $$NEW.day > '02/03/2026' AND wanted(NEW.id)$$)", URL)
    place.run("mem", "ALTER TABLE own RENAME day TO at; ALTER FUNCTION wanted(int) RENAME TO needed")
    place.run("super", "SET DateStyle = 'SQL, MDY'; SET search_path = public")
    place.run("super", "SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    place.run("mem", "SET DateStyle = 'ISO, MDY'; SET search_path = public")
    place.run("mem", "INSERT INTO {mem}.own (id, at) VALUES (11, '2026-02-20'), (12, '2026-03-03'), (1, '2026-03-03')")
    place.run("mem", "UPDATE {mem}.own SET at = at + 1")
    assert [body["record"]["id"] for body in place.payloads()] == [12, 12]


AUDIT = """
    CREATE TABLE public.ddl_log (who text, tag text); GRANT INSERT ON public.ddl_log TO PUBLIC;
    CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO ddl_log VALUES (current_user, tg_tag); END $$;
    CREATE EVENT TRIGGER log_start ON ddl_command_start EXECUTE FUNCTION public.log_ddl();
    CREATE EVENT TRIGGER log_end ON ddl_command_end EXECUTE FUNCTION public.log_ddl();
    CREATE EVENT TRIGGER log_drop ON sql_drop EXECUTE FUNCTION public.log_ddl();
"""


@pytest.fixture
def audited(place):
    """A place whose superuser logs all data definition, by a name that the path decides on."""
    place.run("mem", TYPES)
    place.run("mem", SPY.replace("{author}", "{mem}").replace(".spy(", ".spy2(") + """
        CREATE TABLE {mem}.ddl_log (who text, tag text); GRANT INSERT ON {mem}.ddl_log TO PUBLIC;
        GRANT USAGE ON SCHEMA {mem} TO PUBLIC;
        CREATE FUNCTION {mem}.trap() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM {mem}.spy('trap'); RETURN NULL; END $$;
        CREATE TRIGGER trap AFTER INSERT ON {mem}.ddl_log FOR EACH ROW EXECUTE FUNCTION {mem}.trap();
    """)
    place.run("super", AUDIT)
    place.begin()
    yield place
    place.run("super", "DROP EVENT TRIGGER log_start; DROP EVENT TRIGGER log_end; DROP EVENT TRIGGER log_drop")


def test_event_triggers_see_the_callers_own_create_trigger(audited):
    """With the caller's path, as for a CREATE TRIGGER that it types."""
    for path, log in (("public", "public.ddl_log"), ("{mem}, public", "{mem}.ddl_log")):
        audited.run("mem", f"SET search_path = {path}")
        audited.run("super", f"DELETE FROM {log}")
        audited.run("mem", "SELECT webhook_create('hook', %s, %s, '{INSERT,DELETE}', condition => 'true')",
                    URL, audited.text("{mem}.own"))
        audited.run("mem", "SELECT webhook_update('hook', condition => 'false')")
        made = audited.run("super", f"SELECT who, tag, count(*) FROM {log} GROUP BY 1, 2").fetchall()
        # two triggers, made twice, each seen at its start and its end
        assert made == [(audited.names["mem"], "CREATE TRIGGER", 8)]
        audited.run("mem", "SELECT webhook_delete('hook')")


@pytest.mark.parametrize("condition", ["true", None])
def test_event_triggers_do_not_run_as_the_extensions_owner(audited, condition):
    """What is made for a further event and what is removed is seen by none, whoever does it, and on whatever path."""
    audited.run("mem", "SELECT webhook_create('hook', %s, %s, '{INSERT}', condition => %s)", URL, audited.text("{mem}.own"), condition)
    audited.run("mem", "GRANT TRIGGER, SELECT ON {mem}.own TO {adm}")
    audited.begin()
    audited.run("super", "DELETE FROM public.ddl_log; DELETE FROM {mem}.ddl_log")
    for who in ("mem", "adm", "super"):
        audited.run(who, "SET search_path = {mem}, public")
        for statement in (
            "SELECT webhook_update('hook', url => 'http://127.0.0.1:9/other')",
            "SELECT webhook_update('hook', columns => '{}', payload_columns => '{id}')",
            "SELECT webhook_update('hook', events => '{INSERT,DELETE}')",
            "SELECT webhook_update('hook', events => '{INSERT}')",
            "SELECT webhook_preview('hook', 'INSERT', '{\"id\": 1}')",
            "SELECT * FROM webhook_check()",
        ):
            audited.run(who, statement)
    audited.run("super", "SELECT webhook_unwatch('hook', '" + audited.text("{mem}.own") + "')")
    audited.run("adm", "SELECT webhook_delete('hook')")
    for log in ("public.ddl_log", "{mem}.ddl_log"):
        assert audited.run("super", f"SELECT * FROM {log}").fetchall() == []
    assert audited.run("super", "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass", audited.text("{mem}.own")).fetchone() == (0,)


def test_a_superusers_own_webhook_is_its_own_data_definition(audited):
    """It runs event triggers as itself, as any CREATE TRIGGER of it does, and none of a member's."""
    audited.run("super", "CREATE TABLE public.mine (id int)")
    audited.run("super", "DELETE FROM public.ddl_log")
    audited.run("super", "SELECT webhook_create('mine', %s, 'public.mine', '{INSERT}')", URL)
    assert set(audited.run("super", "SELECT who, tag FROM public.ddl_log")) == {("postgres", "CREATE TRIGGER")}


PLANTED = """
    CREATE FUNCTION {mem}.sha256(bytea) RETURNS bytea LANGUAGE plpgsql AS
        $$ BEGIN PERFORM {mem}.spy('sha256'); RETURN pg_catalog.sha256($1); END $$;
    CREATE FUNCTION {mem}.convert_to(text, name) RETURNS bytea LANGUAGE plpgsql AS
        $$ BEGIN PERFORM {mem}.spy('convert_to'); RETURN pg_catalog.convert_to($1, $2); END $$;
    CREATE FUNCTION {mem}.array_agg(smallint) RETURNS smallint[] LANGUAGE plpgsql AS
        $$ BEGIN PERFORM {mem}.spy('array_agg'); RETURN '{}'; END $$;
    CREATE FUNCTION {mem}.equal(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM {mem}.spy('uuid'); RETURN pg_catalog.uuid_eq($1, $2); END $$;
    CREATE OPERATOR {mem}.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = {mem}.equal);
    CREATE FUNCTION {mem}.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM {mem}.spy('text'); RETURN pg_catalog.texteq($1, $2); END $$;
    CREATE OPERATOR {mem}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {mem}.equal);
    CREATE FUNCTION {mem}.equal(oid, oid) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM {mem}.spy('oid'); RETURN pg_catalog.oideq($1, $2); END $$;
    CREATE OPERATOR {mem}.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = {mem}.equal);
"""


@pytest.mark.parametrize("setting", [
    "search_path = '{mem}, pg_catalog'", "standard_conforming_strings = off", "lock_timeout = 0", "row_security = off",
    "session_preload_libraries = ''", "default_transaction_read_only = on", "quote_all_identifiers = on",
])
def test_what_a_condition_sets_while_it_is_read_does_not_hold_for_us(place, setting):
    """A literal's check runs as the caller, and what it sets lasts: for the caller, not for what we do next."""
    place.run("mem", TYPES + PLANTED)
    name, value = place.text(setting).split(" = ", 1)
    value = value.strip("'")
    place.run("mem", f"""
        CREATE OR REPLACE FUNCTION {{mem}}.evil(v int) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_catalog.set_config('{name}', '{value}', false); RETURN {{mem}}.spy('set'); END $$
    """)
    create = "SELECT webhook_create('hook', %s, %s, '{INSERT,UPDATE}', columns => '{id}', condition => %s)"
    arguments = [URL, place.text("{mem}.own"), place.text(LITERALS["array of a domain"])]
    if name == "session_preload_libraries":
        assert place.fails("mem", create, *arguments).sqlstate == "42501"
        return
    place.run("mem", create, *arguments)
    assert place.run("mem", "SELECT current_setting(%s)", name).fetchone() == (value,)
    place.run("mem", "SET default_transaction_read_only = off")
    place.run("mem", "SELECT public.webhook_update('hook', columns => '{note}')")
    place.run("mem", "SELECT public.webhook_update('hook', condition => %s)", arguments[2])
    place.run("mem", "RESET search_path")
    place.run("mem", "SET default_transaction_read_only = off")
    place.run("mem", "INSERT INTO {mem}.own VALUES (1)")
    assert len(place.payloads()) == 1


@pytest.mark.parametrize("act, states", [
    ("SELECT webhook_delete('hook')", ("55000",)),
    ("SELECT webhook_unwatch('hook', '{mem}.own')", ("55000",)),
    ("SELECT webhook_update('hook', events => '{DELETE}')", ("55000",)),
    ("DROP TABLE {mem}.own", ("55006",)),
    ("ALTER TABLE {mem}.own RENAME TO other", ("42P01",)),
    ("ALTER TABLE {mem}.own RENAME TO other; CREATE TABLE {mem}.own (id int)", ("55000",)),
    ("ALTER TABLE {mem}.own SET SCHEMA public", ("55006", "42501")),
    ("UPDATE webhook.watch SET events = '{}'", ("42501",)),
    ("INSERT INTO webhook.watch_trigger SELECT id, 'INSERT' FROM webhook.watch", ("42501",)),
])
def test_what_a_condition_undoes_while_it_is_read_is_an_error(place, act, states):
    """Code of the caller's runs between our steps: what it does is looked at afterwards, and nothing is left."""
    place.run("mem", TYPES)
    place.run("mem", "SELECT webhook_create('hook', %s, %s, '{INSERT,UPDATE}')", URL, place.text("{mem}.own"))
    before = place.db.rows("SELECT oid, tgqual::text FROM pg_trigger WHERE tgrelid = %s::regclass", place.text("{mem}.own"))
    place.run("mem", f"""
        CREATE OR REPLACE FUNCTION {{mem}}.evil(v int) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN
                IF current_setting('test.once', true) IS DISTINCT FROM 'done' THEN
                    PERFORM set_config('test.once', 'done', true);
                    {act.replace('SELECT webhook', 'PERFORM public.webhook')};
                END IF;
                RETURN true;
            END $$
    """)
    error = place.fails("mem", "SELECT webhook_update('hook', condition => %s)", place.text(LITERALS["array of a domain"]))
    assert error.sqlstate in states, error.message_primary
    assert place.db.rows("SELECT oid, tgqual::text FROM pg_trigger WHERE tgrelid = %s::regclass", place.text("{mem}.own")) == before
    place.run("mem", "INSERT INTO {mem}.own VALUES (1)")
    assert len(place.payloads()) == 1


def test_a_trigger_holder_gains_nothing(place):
    """Somebody with TRIGGER on a watched table attaches our function by hand, and replaces what is there."""
    place.run("dev", "CREATE TABLE {dev}.t (id int, v text); GRANT USAGE ON SCHEMA {dev} TO PUBLIC;"
              "GRANT ALL ON {dev}.t TO {mem}; GRANT TRIGGER ON {dev}.t TO {wri}; GRANT INSERT ON {dev}.t TO {wri}")
    place.begin()
    place.run("mem", "SELECT webhook_create('hook', %s, %s, '{INSERT}', condition => $$NEW.v = 'public'$$)", URL, place.text("{dev}.t"))
    watch = place.db.value("SELECT id FROM webhook.watch")
    capture = f"EXECUTE FUNCTION webhook.capture('{watch}')"
    place.run("wri", f"CREATE TRIGGER mine AFTER INSERT ON {{dev}}.t FOR EACH ROW {capture}")
    place.run("wri", f'CREATE TRIGGER "_webhook_{watch}_update" AFTER UPDATE ON {{dev}}.t FOR EACH ROW {capture}')
    place.run("wri", f'CREATE TABLE own (id int, v text); CREATE TRIGGER "_webhook_{watch}_insert" AFTER INSERT ON own FOR EACH ROW {capture}'
              .replace("own", "{wri}.own"))
    place.run("wri", "INSERT INTO {wri}.own VALUES (1, 'public'); INSERT INTO {dev}.t VALUES (2, 'public'), (3, 'private')")
    place.run("dev", "UPDATE {dev}.t SET v = v || '!'")
    assert [body["record"]["id"] for body in place.payloads()] == [2]
    told = f"FROM webhook_check('hook') WHERE NOT {OF_ENDPOINTS}"
    assert place.run("mem", f"SELECT count(*) {told}").fetchone() == (0,)
    # A wider condition in the place of the recorded one: nothing, and it says so.
    wider = f'CREATE OR REPLACE TRIGGER "_webhook_{watch}_insert" AFTER INSERT ON {{dev}}.t FOR EACH ROW'
    for replaced in (f"{wider} {capture}", f"{wider} WHEN (true) {capture}", f"{wider} WHEN (NEW.v >= 'public') {capture}"):
        place.run("wri", replaced)
        place.run("wri", "INSERT INTO {dev}.t VALUES (4, 'public'), (5, 'private')")
        assert len(place.payloads()) == 1
        [(webhook, severity, problem)] = place.run("mem", f"SELECT webhook, severity, problem {told}")
        assert (webhook, severity) == ("hook", "error") and "not the one that was made" in problem
        assert place.run("mem", "SELECT health, health_reason FROM webhook.webhooks").fetchone() == ("broken", problem)
    # No tree that somebody else has put there is used.
    error = place.fails("mem", "SELECT webhook_update('hook', events => '{INSERT,UPDATE}')")
    assert error.sqlstate == "55000" and "Give it again" in error.message_hint
    place.run("mem", "SELECT webhook_update('hook', condition => $$NEW.v = 'public'$$)")
    place.run("wri", "INSERT INTO {dev}.t VALUES (6, 'public'), (7, 'private')")
    assert [body["record"]["id"] for body in place.payloads()] == [2, 6]
    assert place.run("mem", "SELECT health FROM webhook.webhooks").fetchone() == ("failing",)
    # Those that are nobody's are shown to admins and to the table's owner.
    leftovers = place.run("adm", f"SELECT webhook, severity, problem FROM webhook_check() WHERE NOT {OF_ENDPOINTS}").fetchall()
    assert {(webhook, severity) for webhook, severity, _ in leftovers} == {(None, "warning")} and len(leftovers) == 3
    place.run("super", "SELECT webhook_grant('" + place.names["dev"] + "', 'viewer')")
    assert len(place.run("dev", "SELECT * FROM webhook_check()").fetchall()) == 2
    assert place.run("dev", "SELECT count(*) FROM webhook.webhooks").fetchone() == (0,)
    place.run("super", "SELECT webhook_revoke('" + place.names["dev"] + "', 'viewer')")
