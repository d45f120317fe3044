"""Triggers that somebody ends who could not drop them: no lock of theirs keeps others from the table, and the worker
removes them."""

import time

import pytest

from harness import wait_until
from harness.status import OF_ENDPOINTS
from test_owners import lender, owner, watch  # noqa: F401

URL = "http://127.0.0.1:9/"
TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure AND tgrelid = %s::regclass"
REMEMBERED = "SELECT count(*) FROM webhook.doomed"
CHANGES = [
    "webhook_delete('hook')", "webhook_unwatch('hook', '{table}')",
    "webhook_update('hook', table_name => '{own}', condition => '')", "webhook_update('hook', events => '{INSERT}')",
    "webhook_update('hook', events => '{INSERT}', condition => 'NEW.id > 1')",
]


@pytest.fixture
def table(lender):
    return f"{lender.role}.things"


def ended_by(who, change, owner, lender, people):
    """The session that makes a change of the webhook, and its statement; `who` has what right on the table."""
    person = owner
    if who == "revoked":
        lender.run(f"REVOKE ALL ON things FROM {owner.role}")
    if who == "admin":
        person = people("adm", "admin")
    person.run("CREATE TABLE IF NOT EXISTS another (id int)")
    change = change.replace("{table}", f"{lender.role}.things").replace("{own}", f"{person.role}.another")
    return person, f"SELECT {change}"


# Who narrows what is watched has to have the right to watch it.
CASES = [("holder", change) for change in CHANGES] + [
    (who, change) for who in ("revoked", "admin") for change in CHANGES if "events" not in change
]


@pytest.mark.parametrize("who, change", CASES)
def test_no_lock_keeps_others_from_the_table(db, owner, lender, people, table, who, change):
    """PostgreSQL gives none of them more than SHARE ROW EXCLUSIVE, for which no SELECT waits."""
    watch(owner, lender, URL, events="{INSERT,UPDATE}", condition="NEW.id > 0")
    person, statement = ended_by(who, change, owner, lender, people)
    person.run("BEGIN")
    person.run(statement)
    modes = "SELECT DISTINCT mode FROM pg_locks WHERE pid = %s AND relation = %s::regclass AND granted"
    held = {mode for (mode,) in db.rows(modes, person.connection.info.backend_pid, table)}
    assert held <= {"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareRowExclusiveLock"}
    lender.run("BEGIN; LOCK TABLE things IN ACCESS SHARE MODE NOWAIT; COMMIT")
    assert db.value(TRIGGERS, table) == 2
    person.run("COMMIT")
    left = 1 if "events" in change else 0
    wait_until(lambda: db.value(TRIGGERS, table) == left, "the worker has not removed the triggers")
    wait_until(lambda: db.value(REMEMBERED) == 0, "something is still remembered")
    lender.run("INSERT INTO things VALUES (2, 'a'); UPDATE things SET note = 'b'")
    assert db.rows("SELECT event_type FROM webhook.event") == [("INSERT",)] * left
    assert db.rows("SELECT problem FROM webhook_check() WHERE problem LIKE '%belongs to no webhook%'") == []


@pytest.mark.parametrize("who", ["lender", "super"])
def test_who_could_drop_them_does(db, owner, lender, table, who):
    """At once, and nothing is remembered."""
    watch(owner, lender, URL)
    person = db if who == "super" else lender
    db.run("SELECT webhook_grant(%s, 'admin')", lender.role)
    person.run("BEGIN; SELECT webhook_delete('hook')")
    assert person.value(TRIGGERS, table) == 0
    person.run("COMMIT")
    assert db.value(REMEMBERED) == 0


def test_a_rollback_leaves_all_as_it_was(db, owner, lender, table):
    watch(owner, lender, URL, events="{INSERT,UPDATE}")
    for change in ("webhook_delete('hook')", f"webhook_unwatch('hook', '{table}')", "webhook_update('hook', events => '{INSERT}')"):
        owner.run(f"BEGIN; SELECT {change}; ROLLBACK")
        assert (db.value(TRIGGERS, table), db.value(REMEMBERED)) == (2, 0)
    lender.run("INSERT INTO things VALUES (1, 'a'); UPDATE things SET note = 'b'")
    assert db.rows("SELECT event_type FROM webhook.event ORDER BY id") == [("INSERT",), ("UPDATE",)]
    assert owner.rows(f"SELECT problem FROM webhook_check() WHERE NOT {OF_ENDPOINTS}") == []


def test_what_is_watched_again_stays(db, owner, lender, table):
    """One that the worker has not come to yet is replaced."""
    watch(owner, lender, URL, events="{INSERT,UPDATE}", condition="NEW.id > 0")
    owner.run("BEGIN; SELECT webhook_update('hook', events => '{INSERT}'); SELECT webhook_update('hook', events => '{INSERT,UPDATE}'); COMMIT")
    wait_until(lambda: db.value(REMEMBERED) == 0, "something is still remembered")
    assert db.value(TRIGGERS, table) == 2
    lender.run("INSERT INTO things VALUES (1, 'a'); UPDATE things SET note = 'b'")
    assert db.rows("SELECT event_type FROM webhook.event ORDER BY id") == [("INSERT",), ("UPDATE",)]
    assert owner.rows(f"SELECT problem FROM webhook_check() WHERE NOT {OF_ENDPOINTS}") == []


def test_deliveries_go_on_beside_a_table_in_use(db, owner, lender, table, receiver):
    """The worker does not wait for it, and who comes after the worker hardly does."""
    lender.run("CREATE TABLE busy (id int)")
    db.run("SELECT webhook_grant(%s, 'member')", lender.role)
    lender.run("SELECT webhook_create('other', %s, 'busy')", receiver.url("/"))
    watch(owner, lender, URL)
    with db.connect() as holder, holder.transaction():
        holder.execute(f"SELECT FROM {table}")
        began = time.monotonic()
        owner.run("SELECT webhook_delete('hook')")
        tries = "SELECT tries > 0 AND next_at > clock_timestamp() + interval '3 seconds' FROM webhook.doomed"
        wait_until(lambda: db.value(tries), "the worker has not tried")
        # The table is held for as long as this takes: who waited for the worker behind that would wait for ever.
        lender.run("SET lock_timeout = '20s'")
        for number in range(5):
            lender.run(f"INSERT INTO busy VALUES ({number})")
            receiver.wait(number + 1)
            lender.run("SELECT FROM things")
        assert db.value(TRIGGERS, table) == 3
        assert db.value("SELECT tries FROM webhook.doomed") <= 1 + (time.monotonic() - began) / 5
        assert len(db.rows("SELECT FROM webhook_check() WHERE problem LIKE '%belongs to no webhook%'")) == 3
    wait_until(lambda: db.value(TRIGGERS, table) == 0, "the worker has not removed the triggers")
    assert db.value(REMEMBERED) == 0


def test_a_table_in_use_is_tried_again_after_longer_and_longer(db, owner, lender, table):
    """Each time for a moment only, and whoever comes to the table meanwhile waits no longer."""
    watch(owner, lender, URL)
    owner.run("SELECT webhook_create('wakes', %s)", URL)
    waited = []

    def has_tried(times):
        began = time.monotonic()
        lender.run("SELECT FROM things")
        waited.append(time.monotonic() - began)
        return db.value("SELECT tries FROM webhook.doomed") == times

    with db.connect() as holder, holder.transaction():
        holder.execute(f"SELECT FROM {table}")
        for tries, seconds in ((0, 5), (1, 10), (6, 320), (7, 600), (50, 600)):
            before = db.value("SELECT clock_timestamp()")
            db.run("UPDATE webhook.doomed SET tries = %s, next_at = now()", tries)
            owner.run(f"SELECT webhook_update('wakes', description => '{tries}')" if tries else "SELECT webhook_delete('hook')")
            wait_until(lambda: has_tried(tries + 1), "the worker has not tried")
            tried = "SELECT next_at - make_interval(secs => %s) BETWEEN %s AND clock_timestamp() FROM webhook.doomed"
            assert db.value(tried, seconds, before), db.rows("SELECT * FROM webhook.doomed")
    assert max(waited) < 3


def test_what_keeps_a_trigger_is_told_once(db, cluster, owner, lender, table):
    """In the server's log, and again when it is something else; other tables are seen to meanwhile."""
    lender.run("CREATE TABLE other (id int); CREATE VIEW one AS SELECT 1; CREATE VIEW two AS SELECT 2")
    lender.run(f"GRANT SELECT, TRIGGER ON other TO {owner.role}")
    watch(owner, lender, URL, events="{INSERT}")
    owner.run("SELECT webhook_watch('hook', %s, '{INSERT}')", f"{lender.role}.other")
    owner.run("SELECT webhook_create('wakes', %s)", URL)

    def depends(view):
        """As nothing of PostgreSQL's own does."""
        db.run(f"""
            SET allow_system_table_mods = on;
            DELETE FROM pg_depend WHERE refclassid = 'pg_trigger'::regclass AND objid IN (
                '{lender.role}.one'::regclass, '{lender.role}.two'::regclass);
            INSERT INTO pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
            SELECT 'pg_class'::regclass, to_regclass('{lender.role}.{view}'), 0, 'pg_trigger'::regclass, t.oid, 0, 'n'
            FROM pg_trigger AS t WHERE t.tgrelid = '{table}'::regclass AND to_regclass('{lender.role}.{view}') IS NOT NULL
        """)

    def tries(least):
        db.run("UPDATE webhook.doomed SET next_at = now()")
        owner.run("SELECT webhook_update('wakes', description => %s)", str(least))
        wait_until(lambda: db.value("SELECT coalesce(max(tries), 0) FROM webhook.doomed") >= least, "the worker has not tried")

    def told():
        return len(cluster.log_lines(f"triggers of ended webhooks on {table} stay: .*depends? on"))

    depends("one")
    owner.run("SELECT webhook_delete('hook')")
    tries(1)
    wait_until(lambda: db.value(TRIGGERS, f"{lender.role}.other") == 0, "the other table's trigger has not been removed")
    tries(3)
    assert told() == 1
    depends("two")
    tries(4)
    wait_until(lambda: told() == 2, "the change has not been told")
    depends("none")
    db.run("UPDATE webhook.doomed SET next_at = now()")
    owner.run("SELECT webhook_delete('wakes')")
    wait_until(lambda: db.value(TRIGGERS, table) == 0, "the worker has not removed the trigger")
    assert told() == 2


def test_partitions_lose_theirs_as_well(db, owner, lender):
    """Of which one in use keeps all."""
    lender.run("CREATE TABLE parted (id int) PARTITION BY RANGE (id)")
    lender.run("CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (100)")
    lender.run("CREATE TABLE high PARTITION OF parted FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id)")
    lender.run("CREATE TABLE higher PARTITION OF high FOR VALUES FROM (100) TO (150)")
    lender.run(f"GRANT SELECT, TRIGGER ON parted, low, high, higher TO {owner.role}")
    owner.run("SELECT webhook_create('hook', %s, %s, '{INSERT}')", URL, f"{lender.role}.parted")
    lender.run(f"REVOKE ALL ON parted, low, high, higher FROM {owner.role}")
    names = [f"{lender.role}.{name}" for name in ("parted", "low", "high", "higher")]
    assert [db.value(TRIGGERS, name) for name in names] == [1] * 4
    with db.connect() as holder, holder.transaction():
        holder.execute(f"SELECT FROM {names[3]}")
        owner.run("BEGIN; SELECT webhook_delete('hook')")
        lender.run("BEGIN; LOCK TABLE parted IN ACCESS SHARE MODE NOWAIT; COMMIT")
        owner.run("COMMIT")
        wait_until(lambda: db.value("SELECT tries FROM webhook.doomed"), "the worker has not tried")
        assert [db.value(TRIGGERS, name) for name in names] == [1] * 4
    wait_until(lambda: [db.value(TRIGGERS, name) for name in names] == [0] * 4, "the worker has not removed the triggers")


def test_what_is_gone_is_forgotten(db, owner, lender, table):
    """A table, and a trigger that its owner has dropped."""
    watch(owner, lender, URL, events="{INSERT}")
    lender.run(f"CREATE TABLE second (id int); GRANT SELECT, TRIGGER ON second TO {owner.role}")
    owner.run("SELECT webhook_watch('hook', %s, '{INSERT}')", f"{lender.role}.second")
    with db.connect() as holder, holder.transaction():
        holder.execute(f"SELECT FROM {table}, {lender.role}.second")
        owner.run("SELECT webhook_delete('hook')")
        wait_until(lambda: db.value("SELECT count(*) FROM webhook.doomed WHERE tries > 0") == 2, "the worker has not tried")
    lender.run("DROP TABLE second")
    for (hint,) in db.rows("SELECT hint FROM webhook_check() WHERE problem LIKE '%belongs to no webhook%'"):
        lender.run(hint)
    wait_until(lambda: db.value(REMEMBERED) == 0, "something is still remembered")


def test_no_event_trigger_sees_it(db, owner, lender, table):
    watch(owner, lender, URL, events="{INSERT}")
    db.run("CREATE TABLE public.seen (tag text); GRANT INSERT ON public.seen TO PUBLIC")
    db.run(
        "CREATE FUNCTION public.see() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.seen VALUES (tg_tag); END $$;"
        "CREATE EVENT TRIGGER seen ON sql_drop EXECUTE FUNCTION public.see()"
    )
    owner.run("SELECT webhook_delete('hook')")
    wait_until(lambda: db.value(TRIGGERS, table) == 0, "the worker has not removed the triggers")
    assert db.rows("SELECT * FROM public.seen") == []


def test_triggers_of_webhooks_that_end_with_their_owner(db, people, lender, table):
    """DROP OWNED drops what the role owns, and a trigger on somebody else's table is not that."""
    owner = people("tmp", "member")
    lender.run(f"GRANT SELECT, TRIGGER ON things TO {owner.role}")
    watch(owner, lender, URL, events="{INSERT,UPDATE}")
    db.run(f"DROP OWNED BY {owner.role}")
    wait_until(lambda: db.value(TRIGGERS, table) == 0, "the worker has not removed the triggers")
    wait_until(lambda: db.value(REMEMBERED) == 0, "something is still remembered")
