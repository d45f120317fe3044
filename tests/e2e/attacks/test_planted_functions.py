"""Where everybody may create in `public`, and it comes first, somebody has put functions there that are called as ours are,
and in the schema of ours, where it may, some that fit a call better. Who does what a hint says calls ours all the same."""

import re

import psycopg
import pytest

from harness import wait_until
from harness.cluster import Database
from harness.copies import copy_database

NAMED = re.compile(r"(\S*?)\bwebhook_[a-z]\w*")
CALL = re.compile(r'(?<!ROUTINE )"the hooks"\.webhook_\w+\(.*?\)')

#: Nearer than ours to a call that leaves arguments out, or gives some without their types.
NEARER = [
    "webhook_arm()", "webhook_arm(keep boolean)", "webhook_unwatch(webhook text, table_name text)",
    "webhook_unwatch(webhook text, table_name integer)", "webhook_grant(role text, level text)",
    "webhook_watch(webhook text, table_name text, events text[], columns text[], condition text, payload_columns text[])",
    "webhook_watch(webhook text, table_name regclass, events text[])", "webhook_update(webhook text, owner text)",
]
PLANTED = "RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$"


def test_who_follows_a_hint_calls_no_planted_function(cluster, make_db, receiver):
    db = make_db(cluster, extension=False)
    copy = f"{db.name}_copy"
    db.run('CREATE SCHEMA "the hooks"; CREATE EXTENSION pg_webhook SCHEMA "the hooks"; GRANT CREATE ON SCHEMA public TO PUBLIC')
    ours = db.rows("""
        SELECT proname, pg_get_function_arguments(oid) FROM pg_proc
        WHERE pronamespace = '"the hooks"'::regnamespace AND proname LIKE 'webhook%'""")
    db.run(f'CREATE ROLE {db.name}_planter; GRANT CREATE, USAGE ON SCHEMA "the hooks" TO {db.name}_planter')
    db.run(f"""CREATE ROLE "{db.name}_Lost"; SELECT "the hooks".webhook_grant('"{db.name}_Lost"', 'member')""")
    db.run(f"SET ROLE {db.name}_planter")
    for name, arguments in ours:
        # An argument of a domain or of a polymorphic type would not matter.
        db.run(f"""CREATE FUNCTION public.{name}({re.sub(r"OUT .*", "", arguments).rstrip(", ")}) {PLANTED}""")
    for function in NEARER:
        db.run(f'CREATE FUNCTION "the hooks".{function} {PLANTED}')
    db.run('RESET ROLE; SET search_path = public, "the hooks"')
    tables = ("items", "others", "again")
    for table in tables:
        db.run(f"CREATE TABLE {table} (id int PRIMARY KEY, note text)")
        db.run('SELECT "the hooks".webhook_create(%s, %s, %s::regclass)', table, receiver.url("/"), table)
    trigger = db.value("SELECT tgname FROM pg_trigger WHERE tgrelid = 'others'::regclass AND NOT tgisinternal LIMIT 1")
    db.run(f'DROP TABLE items; DROP TRIGGER "{trigger}" ON others; DROP OWNED BY "{db.name}_Lost"')
    db.run("DROP TABLE again; CREATE TABLE again (id int PRIMARY KEY, note text)")
    said = len(cluster.log_text())
    db.close()
    copy_database(cluster, db.name, copy)
    with cluster.connect(copy) as session:
        wait_until(lambda: cluster.log_lines("this database is a copy", said), "the log to say so")
        hints = [hint for hint, in session.execute('SELECT hint FROM "the hooks".webhook_check()')]
        assert len(hints) >= 4, hints
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            session.execute("""SELECT "the hooks".webhook_test('others')""")
        told = [*hints, caught.value.diag.message_hint, *cluster.log_lines("this database is a copy", said)]
        names = [found for text in told for found in NAMED.finditer(text)]
        assert len(names) >= 8 and all(found[0].startswith('hooks".') for found in names), told
        session.execute('SET search_path = public, "the hooks"')
        with pytest.raises(psycopg.errors.RaiseException, match="planted"):
            session.execute("SELECT webhook_arm()")
        # What no hint can guard against is said: ordinary calls, which leave types out or mean more than one function then.
        check = """SELECT problem, hint FROM "the hooks".webhook_check() WHERE problem LIKE 'function %%' ORDER BY problem"""
        planted = session.execute(check).fetchall()
        assert len(planted) == len(NEARER) and all(f"of role {db.name}_planter" in problem for problem, _ in planted), planted
        for _, hint in planted:
            if "webhook_arm" in hint:
                session.execute(re.search(r"DROP ROUTINE .*?\)", hint)[0])
        calls = {found for hint in hints for found in CALL.findall(hint) if ".." not in found}
        for name, count in {"arm()": 1, "unwatch": 2, "watch": 1, "grant": 1}.items():
            found = [call for call in calls if f".webhook_{name}" in call]
            assert len(found) == count, (name, calls)
            for call in found:
                session.execute(f"SELECT {call}")
        assert session.execute(check).fetchall() == [row for row in planted if "webhook_arm" not in row[1]]
    with cluster.connect() as admin:
        admin.execute(f"DROP DATABASE {copy}")
    Database.drop(db)
    with cluster.connect() as admin:
        admin.execute(f'DROP ROLE {db.name}_planter, "{db.name}_Lost"')
