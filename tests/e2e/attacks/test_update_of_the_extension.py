"""ALTER EXTENSION UPDATE makes views, functions, columns and triggers again, as a superuser, beside what others have left."""

import pathlib
import re
import shutil
import subprocess

import pytest

from harness import Cluster
from harness.places import BIN, RUN

from .stage import Stage

#: What the scripts are called before the update; afterwards they are the library's.
BEFORE = "0.0.9"
SQL = pathlib.Path(__file__).parents[3] / "sql"

#: What an update may do: functions and views replaced, a column more, triggers made again. Operators are looked for on the
#: path, so it has to be one of the server's own.
PATH = "SET LOCAL search_path = pg_catalog, pg_temp;"
MORE = """
    ALTER TABLE webhook.webhook ADD COLUMN later text NOT NULL DEFAULT 'x';
    SELECT @extschema@.webhook_update(w.id::pg_catalog.text, events => '{INSERT,UPDATE}') FROM webhook.webhooks AS w
    WHERE w.tables <> '{}';
    CREATE TABLE webhook.later_table (id integer); CREATE VIEW webhook.later_view AS SELECT l.id FROM webhook.later_table AS l;
    CREATE TYPE webhook.later_type AS ENUM ('a');
    DROP VIEW webhook.later_view; DROP TABLE webhook.later_table; DROP TYPE webhook.later_type;
"""

#: Names of these that somebody may have given to a domain of its own.
LATER = ("later_table", "later_view", "later_type")

TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE starts_with(tgname, '_webhook_')"

#: Of one name with what the scripts use, and nearer to its arguments. `public` is on the path of a script.
NEARER = {
    "format(text, text)": ("a text, b text", "text", "a"),
    "quote_ident(name)": ("a name", "text", "a::text"),
    "to_jsonb(text)": ("a text", "jsonb", "'{}'"),
    "count(int)": ("a int", "bigint", "a"),
    "array_length(text[])": ("a text[], b int DEFAULT 1", "int", "1"),
}
OPERATORS = {"=": ["oid, int", "int, oid", "regclass, oid", "oid, regclass", "text, varchar", "name, varchar"], "<>": ["oid, int"], "->": ["jsonb, name"]}


def update_script():
    """The functions and views of the scripts, as an update would make them."""
    text = "".join((SQL / name).read_text() for name in ("api.sql", "status.sql", "check.sql", "views.sql"))
    script = re.sub(r"^CREATE (FUNCTION|VIEW)", r"CREATE OR REPLACE \1", text, flags=re.MULTILINE) + MORE
    # As in the installation.
    assert PATH in (SQL / "levels.sql").read_text()
    begins, closes, ends = ((SQL / name).read_text() for name in ("before_update.sql", "close.sql", "after_update.sql"))
    return begins + script.replace("CREATE OR REPLACE VIEW", f"{PATH}\nCREATE OR REPLACE VIEW", 1) + closes + ends


@pytest.fixture(scope="module")
def updatable():
    """A server with two versions of the extension's scripts. Its programs look for their files beside themselves."""
    asked = subprocess.run([BIN / "pg_config", "--bindir", "--sharedir"], stdout=subprocess.PIPE, text=True, check=True)
    bindir, sharedir = map(pathlib.Path, asked.stdout.split())
    source = BIN.parent.resolve()
    tree = RUN / "updatable"
    subprocess.run(["cp", "-as", source, tree], check=True)
    bin, extension = tree / bindir.resolve().relative_to(source), tree / sharedir.resolve().relative_to(source) / "extension"
    for program in ("postgres", "pg_ctl"):
        subprocess.run(["cp", "-L", "--remove-destination", bindir / program, bin], check=True)
    (script,) = extension.glob("pg_webhook--*.sql")
    version = re.fullmatch(r"pg_webhook--([\d.]+)\.sql", script.name)[1]
    script.rename(extension / f"pg_webhook--{BEFORE}.sql")
    (extension / f"pg_webhook--{BEFORE}--{version}.sql").write_text(update_script())
    server = Cluster("updatable", bin=bin, jit="off").start()
    server.version = version
    yield server
    server.destroy()
    shutil.rmtree(tree)


@pytest.fixture
def stage(updatable):
    made = Stage(updatable)
    try:
        made.set(BEFORE)
        # The questions themselves fall into no trap.
        made.superuser.execute("SET search_path = pg_catalog")
        made.takes_these_rights()
        yield made
        made.ask()
    finally:
        made.close()


def leave_traps(stage):
    """Types, casts, operators, functions, conditions and transforms whose code tells as whom it runs."""
    stage.superuser.execute("GRANT CREATE ON SCHEMA public TO funcer, oper")
    stage.takes_these_rights()
    for name, (arguments, returns, result) in NEARER.items():
        stage.as_("funcer").execute(
            f"CREATE FUNCTION public.{name.split('(')[0]}({arguments}) RETURNS {returns} LANGUAGE plpgsql AS"
            f" $$BEGIN RAISE LOG 'spied: funcer as %', current_user; RETURN {result}; END$$"
        )
    for operator, pairs in OPERATORS.items():
        for number, pair in enumerate(pairs):
            left, right = pair.split(", ")
            name = f"public.o{number}_{len(operator)}{left}"
            stage.as_("oper").execute(
                f"CREATE FUNCTION {name}({pair}) RETURNS bool LANGUAGE plpgsql AS"
                " $$BEGIN RAISE LOG 'spied: oper as %', current_user; RETURN true; END$$;"
                f" CREATE OPERATOR public.{operator} (leftarg = {left}, rightarg = {right}, function = {name})"
            )
    stage.spy("oper", argument="int, w int")
    stage.as_("oper").execute("CREATE OPERATOR oper.### (leftarg = int, rightarg = int, function = oper.spy)")
    stage.as_("typer").execute("CREATE TYPE typer.comp AS (a int)")
    stage.spy("typer", "to_json", "typer.comp", "json", "'1'")
    stage.as_("typer").execute("CREATE CAST (typer.comp AS json) WITH FUNCTION typer.to_json(typer.comp) AS IMPLICIT")
    stage.spy("member")
    stage.spy("member", "shape", "jsonb", "jsonb", "v")
    stage.as_("member").execute("""
        CREATE DOMAIN member.dom AS int CHECK (member.spy(value));
        CREATE TABLE member.own (id int, c typer.comp); CREATE TABLE member.ddl_log (tag text);
        CREATE FUNCTION member.logged() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM member.spy(1); RETURN NEW; END';
        CREATE TRIGGER logged BEFORE INSERT ON member.ddl_log FOR EACH ROW EXECUTE FUNCTION member.logged();
        CREATE TABLE member.webhook (id int); CREATE VIEW member.webhooks AS SELECT member.spy(1), 'x' AS id;
        CREATE FUNCTION member.webhook_update(text, events text[]) RETURNS bool LANGUAGE sql AS 'SELECT member.spy(1)'""")
    stage.webhook(
        "member", table_name="member.own", events="{INSERT}", condition="NEW.id = ANY ('{1}'::member.dom[])",
        transform="member.shape(jsonb)",
    )
    tabler = stage.as_("tabler")
    tabler.execute("CREATE TABLE tabler.own (id int); GRANT INSERT ON tabler.own TO writer; SET search_path = tabler, oper, public")
    stage.webhook("tabler", table_name="tabler.own", events="{INSERT}", condition="NEW.id ### 1")


def take_names(stage):
    """A role calls what stands for it, and for its transforms, what the update makes, and uses one of them."""
    stage.as_("stranger").execute(
        "CREATE FUNCTION stranger.same(v jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT v'; CREATE TABLE stranger.own (id int)"
    )
    for name in ("one", "two"):
        stage.webhook("stranger", name, events="{a.*}", transform="stranger.same(jsonb)")
    anchors = stage.superuser.execute("""
        SELECT anchor FROM webhook.webhook WHERE name IN ('one', 'two')
        UNION ALL SELECT owner FROM webhook.webhook WHERE name = 'one'
    """).fetchall()
    for (anchor,), name in zip(anchors, LATER, strict=True):
        stage.run("stranger", f"ALTER DOMAIN webhook.{anchor} RENAME TO {name}")
    stage.run("stranger", "ALTER TABLE stranger.own ADD COLUMN c webhook.later_type")


def drop_what_is_left(stage):
    """Whoever renames what stands for it gives up what it stood for, and no more."""
    stage.run("stranger", "DROP TABLE stranger.own")
    left = stage.run("stranger", "SELECT hint FROM webhook_check() WHERE problem LIKE 'domain %'").fetchall()
    assert len(left) == len(LATER) and not any(name in hint for (hint,) in left for name in LATER), left
    for (hint,) in left:
        stage.run("stranger", hint)


def test_an_update_of_the_extension_runs_nobodys_code_and_finds_its_names_free(stage):
    leave_traps(stage)
    take_names(stage)
    # What it makes is noted in a table that is looked for on the path of the script, not on that of the session.
    stage.superuser.execute("""
        CREATE FUNCTION pg_temp.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
            $$BEGIN INSERT INTO ddl_log VALUES (tg_tag); EXCEPTION WHEN undefined_table THEN NULL; END$$;
        CREATE EVENT TRIGGER made ON ddl_command_end
            WHEN TAG IN ('CREATE FUNCTION', 'CREATE VIEW', 'CREATE TRIGGER', 'DROP TRIGGER', 'ALTER TABLE', 'COMMENT')
            EXECUTE FUNCTION pg_temp.log_ddl()""")
    stage.superuser.execute("""
        SET search_path = member, oper, typer, public, pg_catalog;
        SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape';
        SET standard_conforming_strings = off; SET escape_string_warning = off; SET backslash_quote = on""")
    made = stage.superuser.execute(TRIGGERS).fetchone()
    before = stage.spied()
    stage.run("postgres", "ALTER EXTENSION pg_webhook UPDATE")
    assert stage.spied() == before
    stage.superuser.execute("RESET ALL; SET search_path = pg_catalog")
    stage.superuser.execute("DROP EVENT TRIGGER made; DROP FUNCTION pg_temp.log_ddl()")
    assert stage.value("postgres", "SELECT extversion FROM pg_extension WHERE extname = 'pg_webhook'") == stage.cluster.version
    assert stage.value("postgres", "SELECT count(later) FROM webhook.webhook WHERE name = 'hook'") == 2
    assert stage.value("postgres", TRIGGERS) == 2 * made[0] == 4
    # They fire as before.
    stage.may_run_as("oper", "writer")
    stage.may_run_as("typer", "member")
    stage.run("member", "INSERT INTO member.own VALUES (1)")
    stage.run("writer", "INSERT INTO tabler.own VALUES (1)")
    assert stage.value("postgres", "SELECT count(*) FROM webhook.event") == 2
    drop_what_is_left(stage)
