"""Where everybody may create in `public`, and it comes first, somebody has put functions there that are called as ours are.
Who does what a hint says calls ours all the same."""

import re

import psycopg
import pytest

from harness import wait_until
from harness.cluster import Database
from harness.copies import copy_database

NAMED = re.compile(r"(\S*?)\bwebhook_[a-z]\w*")


def test_who_follows_a_hint_calls_no_planted_function(cluster, make_db, receiver):
    db = make_db(cluster, extension=False)
    copy = f"{db.name}_copy"
    db.run('CREATE SCHEMA "the hooks"; CREATE EXTENSION pg_webhook SCHEMA "the hooks"; GRANT CREATE ON SCHEMA public TO PUBLIC')
    ours = db.rows("""
        SELECT proname, pg_get_function_arguments(oid) FROM pg_proc
        WHERE pronamespace = '"the hooks"'::regnamespace AND proname LIKE 'webhook%'""")
    db.run(f"CREATE ROLE {db.name}_planter")
    db.run(f"SET ROLE {db.name}_planter")
    for name, arguments in ours:
        # An argument of a domain or of a polymorphic type would not matter.
        db.run(f"""CREATE FUNCTION public.{name}({re.sub(r"OUT .*", "", arguments).rstrip(", ")}) RETURNS text
            LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$""")
    db.run('RESET ROLE; SET search_path = public, "the hooks"')
    db.run("CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE others (id int PRIMARY KEY)")
    for table in ("items", "others"):
        db.run('SELECT "the hooks".webhook_create(%s, %s, %s::regclass)', table, receiver.url("/"), table)
    trigger = db.value("SELECT tgname FROM pg_trigger WHERE tgrelid = 'others'::regclass AND NOT tgisinternal LIMIT 1")
    db.run(f'DROP TABLE items; DROP TRIGGER "{trigger}" ON others')
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
        [call] = {found for hint in hints for found in re.findall(r'"the hooks"\.webhook_arm\(\)', hint)}
        assert session.execute(f"SELECT {call}").fetchone() == (True,)
        [call] = [re.search(r'"the hooks"\.webhook_unwatch\(.*?\)', hint)[0] for hint in hints if "end this with SELECT" in hint]
        session.execute(f"SELECT {call}")
    with cluster.connect() as admin:
        admin.execute(f"DROP DATABASE {copy}")
    Database.drop(db)
    with cluster.connect() as admin:
        admin.execute(f"DROP ROLE {db.name}_planter")
