"""What one session does while another one changes what it is about."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from harness import wait_until
from harness.waiting import waits_for_a_lock
from test_owners import lender, owner, records, watch  # noqa: F401

URL = "http://127.0.0.1:9/"


class Waiting:
    """A statement that another session has to wait with."""

    def __init__(self, db, session, statement, *arguments):
        self._statement, self._arguments, self._session = statement, arguments, session
        self.error = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_until(lambda: waits_for_a_lock(db.connection, session.connection) or not self._thread.is_alive(), "the statement does not wait")
        self.waited = self._thread.is_alive()

    def _run(self):
        try:
            self._session.run(self._statement, *self._arguments)
        except psycopg.Error as error:
            self.error = error

    def end(self):
        """How it ends: the SQLSTATE and the message of its error, if it has one."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error and (self.error.diag.sqlstate, self.error.diag.message_primary)


# --- a table that goes away ------------------------------------------------------------------------------


@pytest.mark.parametrize("change, refused", [
    ("webhook_update('hook', events => '{INSERT,UPDATE}')", "42809"),
    ("webhook_update('hook', events => '{INSERT,UPDATE,DELETE}', columns => '{id}')", "42809"),
    ("webhook_update('hook', condition => 'NEW.id > 1')", "42P01"),
    ("webhook_update('hook', events => '{TRUNCATE}', condition => '')", "42809"),
    ("webhook_watch('second', '{table}')", "42P01"),
    ("webhook_watch('second', '{table}', condition => 'NEW.id > 1')", "42P01"),
    ("webhook_create('third', 'http://127.0.0.1:9/', '{table}', payload_columns => '{id}')", "42P01"),
    ("webhook_unwatch('hook', '{table}')", None),
    ("webhook_delete('hook')", None),
    ("webhook_preview('hook', 'INSERT', '{\"id\": 1}')", None),
    ("webhook_check('hook')", None),
])
def test_a_table_that_is_dropped_meanwhile(db, owner, lender, change, refused):
    """Whoever waited for it is told that it is not there any more, and by no internal error."""
    watch(owner, lender, URL, events="{INSERT}", condition="NEW.id > 0")
    owner.run("SELECT webhook_create('second', %s)", URL)
    # Others than the table's owner leave its triggers to the worker.
    db.run(f"GRANT {lender.role} TO {owner.role}")
    table = f"{lender.role}.things"
    lender.run("BEGIN; DROP TABLE things")
    waiting = Waiting(db, owner, f"SELECT {change.replace('{table}', table)}".replace("%", "%%"))
    lender.run("COMMIT")
    end = waiting.end()
    assert (end and end[0]) == refused
    assert waiting.waited == ("check" not in change), "nobody has waited for the table"


def test_a_watch_of_a_table_in_use_says_so(db, owner, lender):
    """In words, as making a trigger does, where a further one is made."""
    watch(owner, lender, URL, events="{INSERT}", condition="NEW.id > 0")
    lender.run("BEGIN; LOCK TABLE things IN ACCESS EXCLUSIVE MODE")
    things = f"{lender.role}.things"
    owner.run("SELECT webhook_create('second', %s)", URL)
    calls = ["webhook_update('hook', events => '{INSERT,UPDATE}')", f"webhook_watch('second', '{things}')", f"webhook_create('third', '{URL}', '{things}')"]

    def refused(call):
        with db.connect(user=owner.role) as session, pytest.raises(psycopg.errors.LockNotAvailable, match="could not lock table .*things within 2 seconds"):
            session.execute(f"SELECT {call}")
        return True

    with ThreadPoolExecutor(3) as sessions:
        assert all(sessions.map(refused, calls))
    lender.run("COMMIT")


# --- privileges that somebody else changes -----------------------------------------------------------------


GRANTS = [
    "GRANT EXECUTE ON FUNCTION webhook_emit(text, jsonb, text) TO {other}",
    "GRANT USAGE ON SCHEMA public TO {other}",
    "GRANT USAGE ON SCHEMA webhook TO {other}",
    "GRANT SELECT ON webhook.webhooks TO {other}",
]


@pytest.mark.parametrize("grant", GRANTS)
@pytest.mark.parametrize("ours", [
    "webhook_update('named', emitters => '{app}')", "webhook_grant('{app}', 'member')", "webhook_delete('hears')",
    "webhook_revoke('{lev}', 'viewer')",
])
def test_a_grant_of_somebody_elses_meanwhile(db, people, grant, ours):
    """It is waited for, and neither is lost."""
    app, other, level = people("app"), people("oth"), people("lev")
    db.run("SELECT webhook_grant(%s, 'viewer')", level.role)
    db.run("SELECT webhook_create('named', %s, events => '{a.b}')", URL)
    db.run("SELECT webhook_create('hears', %s, events => '{a.b}', emitters => %s)", URL, [level.role])
    with db.connect() as second, db.connect() as third:
        second.execute("BEGIN")
        second.execute(grant.replace("{other}", other.role))
        statement = ours.replace("'{app}'", f"'{app.role}'").replace("{lev}", level.role)
        if "emitters" in ours:
            statement = ours.replace("{app}", f"{{{app.role}}}")
        waiting = Waiting(db, Plain(third), f"SELECT {statement}")
        second.execute("COMMIT")
        assert waiting.end() is None
    acl = db.value(
        "SELECT string_agg(acl::text, ' ') FROM (SELECT proacl FROM pg_proc WHERE proname = 'webhook_emit'"
        " UNION ALL SELECT nspacl FROM pg_namespace WHERE nspname IN ('public', 'webhook')"
        " UNION ALL SELECT relacl FROM pg_class WHERE oid = 'webhook.webhooks'::regclass) AS a (acl)"
    )
    assert other.role in acl


@pytest.mark.parametrize("statement", [
    "GRANT USAGE ON SCHEMA public TO {other}", "GRANT USAGE ON SCHEMA webhook TO {other}",
    "GRANT SELECT ON webhook.webhooks TO {other}", "GRANT EXECUTE ON FUNCTION webhook_pause(text) TO {other}",
])
def test_an_open_change_of_emitters_locks_what_it_grants_only(db, people, statement):
    owner, app, other = people("own", "member"), people("app"), people("oth")
    owner.run("SELECT webhook_create('hook', %s, events => '{a.b}')", URL)
    owner.run("BEGIN")
    owner.run("SELECT webhook_update('hook', emitters => %s)", [app.role])
    db.run("SET statement_timeout = '5s'")
    db.run(statement.format(other=other.role))
    owner.run("COMMIT")


IN_USE = "privileges are being changed by another transaction, which did not end within 2 seconds"


def test_an_open_change_of_emitters_keeps_nobody_waiting_for_long(db, people):
    """Who changes levels is told, and so is whoever names emitters."""
    owner, admin, app, other = people("own", "member"), people("adm", "admin"), people("app"), people("oth", "member")
    owner.run("SELECT webhook_create('hook', %s, events => '{a.b}')", URL)
    other.run("SELECT webhook_create('hears', %s, events => '{a.b}', emitters => %s)", URL, [admin.role])
    owner.run("BEGIN")
    owner.run("SELECT webhook_update('hook', emitters => %s)", [app.role])
    calls = [
        (admin, f"webhook_grant('{app.role}', 'viewer')"), (admin, f"webhook_revoke('{other.role}', 'member')"),
        (other, f"webhook_update('hears', emitters => '{{{app.role}}}')"), (other, "webhook_delete('hears')"),
        (other, f"webhook_create('more', '{URL}', events => '{{a.b}}', emitters => '{{{app.role}}}')"),
    ]
    for person, call in calls:
        person.run("SET statement_timeout = '10s'")
        with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
            person.run(f"SELECT {call}")
        assert caught.value.diag.message_primary == IN_USE, call
    # Nobody gets or loses anything by these.
    other.run("SELECT webhook_create('none', %s, events => '{a.b}', emitters => '{}')", URL)
    other.run("SELECT webhook_update('none', emitters => '{}'); SELECT webhook_delete('none')")
    owner.run("COMMIT")
    for person, call in calls[2:]:
        if "delete" not in call:
            person.run(f"SELECT {call}")


def test_a_grant_of_the_servers_own_is_not_waited_for_without_end(db, people):
    owner, app, other = people("own", "member"), people("app"), people("oth")
    owner.run("SELECT webhook_create('hook', %s, events => '{a.b}')", URL)
    db.run(f"BEGIN; GRANT EXECUTE ON FUNCTION webhook_emit(text, jsonb, text) TO {other.role}")
    with pytest.raises(psycopg.errors.LockNotAvailable, match=IN_USE):
        owner.run("SELECT webhook_update('hook', emitters => %s)", [app.role])
    db.run("COMMIT")
    owner.run("SELECT webhook_update('hook', emitters => %s)", [app.role])


@pytest.mark.parametrize("call", [
    "webhook_create('second', 'http://127.0.0.1:9/')", "webhook_update('group', owner => '{owner}')",
])
def test_the_first_webhook_of_a_role_is_not_waited_for_without_end(db, people, cluster, call):
    """While another session makes it, and leaves its transaction open."""
    group = people("grp", "member", attributes="NOLOGIN")
    owner = people("own", "member", member_of=[group])
    owner.run(f"SET ROLE {group.role}; SELECT webhook_create('group', '{URL}'); RESET ROLE")
    call = call.replace("{owner}", owner.role)
    with cluster.connect(db.name, user=owner.role) as second:
        owner.run("BEGIN")
        owner.run("SELECT webhook_create('first', %s)", URL)
        second.execute("SET statement_timeout = '10s'")
        with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
            second.execute(f"SELECT {call}")
        assert caught.value.diag.message_primary == (
            f'another transaction makes the first webhook of role "{owner.role}", and did not end within 2 seconds'
        )
        owner.run("COMMIT")
        second.execute(f"SELECT {call}")


def test_who_waits_for_a_change_of_levels_holds_no_webhook(db, people, cluster):
    """Others manage it meanwhile."""
    owner, admin, app = people("own", "member"), people("adm", "admin"), people("app")
    owner.run("SELECT webhook_create('hook', %s, events => '{a.b}')", URL)
    with cluster.connect(db.name, user=owner.role) as second:
        admin.run("BEGIN")
        admin.run("SELECT webhook_grant(%s, 'viewer')", app.role)
        waiting = Waiting(db, owner, "SELECT webhook_update('hook', emitters => %s)", [app.role])
        second.execute("SET lock_timeout = '500ms'")
        second.execute("SELECT webhook_pause('hook')")
        admin.run("COMMIT")
        assert waiting.waited and waiting.end() is None


@pytest.mark.parametrize("call, left", [
    ("webhook_update('hook', emitters => '{{{app}}}')", [("before", ["{app}"]), ("hook", ["{adm}"])]),
    ("webhook_delete('hook')", [("hook", ["{adm}"])]),
])
def test_who_waits_for_a_change_of_levels_keeps_to_the_webhook_that_was_named(db, people, cluster, call, left):
    """Its name is another one's by then."""
    owner, admin, app = people("own", "member"), people("adm", "admin"), people("app")
    made = "SELECT webhook_create('{}', 'http://127.0.0.1:9/', events => '{{a.b}}', emitters => '{{{}}}')"
    owner.run(made.format("hook", admin.role))
    owner.run(made.format("other", admin.role))
    roles = {"app": app.role, "adm": admin.role}
    with cluster.connect(db.name, user=owner.role) as second:
        admin.run("BEGIN")
        admin.run("SELECT webhook_grant(%s, 'viewer')", app.role)
        waiting = Waiting(db, owner, f"SELECT {call.format(**roles)}")
        second.execute("SELECT webhook_update('hook', name => 'before'); SELECT webhook_update('other', name => 'hook')")
        admin.run("COMMIT")
        assert waiting.waited and waiting.end() is None
    expected = [(name, [one.format(**roles) for one in emitters]) for name, emitters in left]
    assert owner.rows("SELECT name, emitters FROM webhook.webhooks ORDER BY name") == expected


class Plain:
    """A connection as people have it."""

    def __init__(self, connection):
        self.connection = connection

    def run(self, statement, *arguments):
        return self.connection.execute(statement, arguments or None)


# --- what a session looks up while it changes ----------------------------------------------------------------


def writes_a_first_row(db, writer, meanwhile):
    """A session, which waits in the middle of looking its webhook up; then something else happens."""
    with db.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE webhook.ring IN ACCESS EXCLUSIVE MODE")
        waiting = Waiting(db, Plain(writer), "INSERT INTO things VALUES (1, 'a')")
        assert waiting.waited
        db.run(meanwhile)
        holder.execute("COMMIT")
        assert waiting.end() is None


@pytest.mark.parametrize("change", [
    "REVOKE SELECT ON {things} FROM {owner}",
    "SELECT webhook_update('hook', enabled => false)",
])
def test_what_changes_while_it_is_looked_up_does_not_stay(db, owner, lender, cluster, change):
    """A writer's first row waits in the middle of looking its webhook up; what commits meanwhile counts for the next."""
    watch(owner, lender, URL, payload_columns="{id,note}")
    text = change.replace("{things}", f"{lender.role}.things").replace("{owner}", owner.role)
    with cluster.connect(db.name, user=lender.role) as writer:
        writes_a_first_row(db, writer, text)
        before = len(records(db))
        writer.execute("INSERT INTO things VALUES (2, 'b')")
    assert before <= 1
    assert len(records(db)) == before


SCANS = """
    SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_xact_all_tables WHERE schemaname = 'webhook' AND relname = 'webhook'
"""


def test_what_changes_elsewhere_is_not_waited_for(db, owner, lender, cluster):
    """Other tables come and go in the middle of a look-up, which is not repeated for that."""
    watch(owner, lender, URL, payload_columns="{id,note}")

    def scans(meanwhile):
        with cluster.connect(db.name, user=lender.role) as writer:
            writer.execute("BEGIN")
            writes_a_first_row(db, writer, meanwhile)
            [count] = writer.execute(SCANS).fetchone()
            writer.execute("ROLLBACK")
            return count

    undisturbed = scans("SELECT 1")
    assert undisturbed > 0
    assert scans("CREATE TABLE public.other (id int primary key)") == undisturbed
    assert scans("DROP TABLE public.other") == undisturbed
    assert scans("SELECT webhook_update('hook', description => 'another')") > undisturbed


# --- serializable transactions -----------------------------------------------------------------------------


def serializable(session):
    session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")


@pytest.mark.parametrize("level, fails", [("READ COMMITTED", False), ("SERIALIZABLE", True)])
def test_serializable_writers_and_changes_of_webhooks(db, owner, lender, cluster, level, fails):
    """What capture reads of a webhook counts as read by the writer: only a SERIALIZABLE change of it conflicts with that."""
    watch(owner, lender, URL)
    owner.run("CREATE TABLE apart (id int)")
    lender.run(f"GRANT SELECT ON things TO {owner.role}")
    with cluster.connect(db.name, user=lender.role) as writer:
        serializable(writer)
        owner.run(f"BEGIN ISOLATION LEVEL {level}")
        # Each reads what the other writes: the webhook, and the table.
        owner.run(f"SELECT count(*) FROM {lender.role}.things")
        writer.execute("INSERT INTO things VALUES (1, 'a')")
        owner.run("SELECT webhook_update('hook', description => 'new')")
        writer.execute("COMMIT")
        if fails:
            with pytest.raises(psycopg.errors.SerializationFailure):
                owner.run("COMMIT")
        else:
            owner.run("COMMIT")


def test_serializable_writers_do_not_conflict_by_capture(db, owner, lender, cluster):
    """Two of them that load and write at once, with a change of the webhook in between."""
    watch(owner, lender, URL)
    lender.run("CREATE TABLE left_ (id int); CREATE TABLE right_ (id int)")
    with cluster.connect(db.name, user=lender.role) as one, cluster.connect(db.name, user=lender.role) as two:
        for session in (one, two):
            serializable(session)
        one.execute("SELECT count(*) FROM left_; INSERT INTO things VALUES (1, 'a')")
        owner.run("SELECT webhook_update('hook', description => 'new')")
        two.execute("SELECT count(*) FROM right_; INSERT INTO things VALUES (2, 'b')")
        one.execute("COMMIT")
        two.execute("COMMIT")
    assert len(records(db)) == 2
