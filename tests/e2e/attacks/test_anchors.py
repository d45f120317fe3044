"""What stands for a role as the owner of webhooks is a domain that belongs to the role: nobody takes more by it."""

import psycopg
import pytest

from harness import wait_until


def anchor(stage, name="hook"):
    return stage.superuser.execute(
        "SELECT owner FROM webhook.webhook WHERE name = %s AND deleted_at IS NULL", [name]
    ).fetchone()[0]


def set_out(stage):
    """A webhook of tabler's, with a secret, and one of member's."""
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int, note text); GRANT INSERT ON tabler.t TO writer")
    stage.webhook("tabler", table_name="tabler.t", signature="sha256", secret="0123456789abcdef0123")
    stage.webhook("member", "mine", events="{a.*}")
    return anchor(stage), anchor(stage, "mine")


def live(stage):
    return {row for row in stage.superuser.execute("""
        SELECT w.name, r.role::regrole::text FROM webhook.webhook AS w LEFT JOIN webhook.owner_role AS r ON r.anchor = w.owner
        WHERE w.deleted_at IS NULL
    """).fetchall()}


#: What somebody may try with the domain of another role.
OTHERS = [
    "ALTER DOMAIN webhook.{0} RENAME TO owner_x", "ALTER DOMAIN webhook.{0} OWNER TO CURRENT_USER", "DROP DOMAIN webhook.{0}",
    "ALTER DOMAIN webhook.{0} ADD CHECK (VALUE)", "ALTER DOMAIN webhook.{0} SET DEFAULT true",
    "ALTER DOMAIN webhook.{0} SET NOT NULL", "ALTER DOMAIN webhook.{0} SET SCHEMA public",
    "ALTER TYPE webhook.{0} OWNER TO CURRENT_USER", "DROP TYPE webhook.{0} CASCADE",
    "GRANT USAGE ON DOMAIN webhook.{0} TO PUBLIC", "COMMENT ON DOMAIN webhook.{0} IS 'mine'",
    "CREATE TABLE {1}.t (c webhook.{0})", "CREATE DOMAIN {1}.d AS webhook.{0}", "CREATE TYPE {1}.c AS (c webhook.{0})",
    "CREATE FUNCTION {1}.f(webhook.{0}) RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE TABLE {1}.t (c webhook.{0}[])",
    "CREATE CAST (webhook.{0} AS text) WITH INOUT AS IMPLICIT", "ALTER EXTENSION pg_webhook ADD DOMAIN webhook.{0}",
    "ALTER EXTENSION pg_webhook DROP DOMAIN webhook.{0}", "REASSIGN OWNED BY tabler TO CURRENT_USER",
    "DROP OWNED BY tabler", "CREATE TEMP TABLE t (c webhook.{0})",
]

#: And the making of one of its own.
MAKING = [
    "CREATE DOMAIN webhook.owner_0123456789abcdef0123456789abcdef AS boolean", "CREATE TYPE webhook.owner_x AS ENUM ()",
    "CREATE TABLE webhook.owner_x (id int)", "CREATE SCHEMA webhook",
    "CREATE FUNCTION webhook.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER SCHEMA webhook OWNER TO CURRENT_USER", "ALTER SCHEMA webhook RENAME TO other", "DROP SCHEMA webhook CASCADE",
    "ALTER DOMAIN {1}.owner_x SET SCHEMA webhook", "GRANT CREATE ON SCHEMA webhook TO CURRENT_USER",
    "ALTER EXTENSION pg_webhook SET SCHEMA {1}", "DROP EXTENSION pg_webhook CASCADE", "ALTER EXTENSION pg_webhook UPDATE",
]


@pytest.mark.parametrize("who", ["nobody", "viewer", "member", "admin", "dba"])
def test_the_domain_of_another_role_is_out_of_reach(stage, who):
    theirs, _ = set_out(stage)
    if who == "dba":
        stage.superuser.execute(f'ALTER DATABASE "{stage.database.name}" OWNER TO oper')
        stage.takes_these_rights()
        who = "oper"
    session = stage.as_(who)
    session.execute(f"CREATE DOMAIN {who}.owner_x AS boolean")
    before = live(stage)
    for statement in OTHERS + MAKING:
        refused = False
        try:
            with session.transaction():
                session.execute(statement.format(theirs, who))
        except psycopg.Error as error:
            refused = error.sqlstate in ("42501", "42P06", "42704", "0A000", "42809", "2BP01", "55000")
            assert refused, (statement, error.sqlstate, str(error))
        # Casts of domains, and grants of what one may not grant, are ignored with a warning.
        assert refused or statement.startswith(("CREATE CAST", "GRANT")), statement
    assert live(stage) == before
    stage.run("writer", "INSERT INTO tabler.t VALUES (1, 'a')")
    assert stage.value("tabler", "SELECT count(*) FROM webhook.deliveries") == 1


#: What the domain's own owner may do to it; each is followed by what everybody does with webhooks.
OWN = {
    "check": "ALTER DOMAIN webhook.{0} ADD CHECK (member.spy(1))",
    "check-not-valid": "ALTER DOMAIN webhook.{0} ADD CONSTRAINT c CHECK (member.spy(1)) NOT VALID",
    "default": "ALTER DOMAIN webhook.{0} SET DEFAULT member.spy(1)",
    "not-null": "ALTER DOMAIN webhook.{0} SET NOT NULL",
    "rename": "ALTER DOMAIN webhook.{0} RENAME TO owner_ffffffffffffffffffffffffffffffff",
    "rename-to-nothing-of-ours": "ALTER DOMAIN webhook.{0} RENAME TO visible_x",
    "schema": "ALTER DOMAIN webhook.{0} SET SCHEMA member",
    "used": "CREATE TABLE member.uses (c webhook.{0})",
    "array-used": "CREATE TABLE member.uses (c webhook.{0}[])",
    "over-it": "CREATE DOMAIN member.over AS webhook.{0} CHECK (member.spy(1))",
    "granted": "GRANT USAGE ON DOMAIN webhook.{0} TO PUBLIC",
    "revoked": "REVOKE ALL ON DOMAIN webhook.{0} FROM member",
    "dropped": "DROP DOMAIN webhook.{0}",
    "drop-owned": "DROP OWNED BY member",
    "there-and-back": "ALTER DOMAIN webhook.{0} RENAME TO owner_a; ALTER DOMAIN webhook.owner_a RENAME TO {0}",
    "check-and-back": "ALTER DOMAIN webhook.{0} ADD CONSTRAINT c CHECK (member.spy(1)); ALTER DOMAIN webhook.{0} DROP CONSTRAINT c",
}


@pytest.mark.parametrize("how", OWN)
def test_its_own_role_changes_it_and_gains_nothing(stage, how):
    # What stands for the superuser is made before, so that it is no gain of anybody's.
    stage.webhook("postgres", "first", events="{never}")
    stage.takes_these_rights()
    _, mine = set_out(stage)
    stage.spy("member")
    session = stage.as_("member")
    session.execute("CREATE TABLE member.own (id int)")
    session.execute("SELECT webhook_watch('mine', 'member.own')")
    session.execute(OWN[how].format(mine))
    before = len(stage.spied())
    for who in ("admin", "postgres", "tabler", "stranger", "member"):
        for call in ("webhook_check()", "webhook_pause('mine')", "webhook_resume('mine')", "webhook_emit('a.b', '{}')",
                     "webhook_update('mine', url => 'http://127.0.0.1:9/x')", "webhook_update('mine', owner => 'stranger')",
                     "webhook_preview('mine', 'a.b', '{}')", "webhook_create('more', 'http://127.0.0.1:9/')",
                     "webhook_replay_all('mine')", "webhook_delete('more')"):
            # Whoever may do that does it; the superuser is the one who may give away.
            stage.tries(who, f"SELECT * FROM {call}")
        stage.tries(who, "INSERT INTO tabler.t VALUES (1)")
        stage.tries(who, "INSERT INTO member.own VALUES (1)")
    # A check that somebody else's cast would evaluate belongs to no statement of ours.
    assert len(stage.spied()) == before
    assert ("hook", "tabler") in live(stage)
    # Given to stranger by the superuser, kept, or gone.
    assert {role for name, role in live(stage) if name == "mine"} <= {"stranger", "member", None}


def test_a_name_that_is_free_again_stands_for_nobody(stage):
    """Everybody sees the names. Whoever takes the one of a role that is gone gets none of its webhooks."""
    theirs, mine = set_out(stage)
    stage.as_("tabler").execute(f"DROP DOMAIN webhook.{theirs}")
    stage.as_("member").execute(f"ALTER DOMAIN webhook.{mine} RENAME TO {theirs}")
    for call in ("webhook_rotate_secret('hook')", "webhook_update('hook', url => 'http://127.0.0.1:9/x')",
        "webhook_invoke('hook', ROW(1))",
                 "webhook_update('hook', owner => 'member')", "webhook_resume('hook')"):
        assert stage.tries("member", f"SELECT {call}") == "42704", call
    assert stage.run("member", "SELECT name FROM webhook.webhooks").fetchall() == []
    stage.run("writer", "INSERT INTO tabler.t VALUES (1, 'a')")
    assert stage.value("postgres", "SELECT count(*) FROM webhook.event") == 0
    wait_until(lambda: not live(stage), "both to end")


@pytest.mark.parametrize("between", ["", "DROP ROLE tabler; CREATE ROLE tabler LOGIN"])
def test_a_new_role_of_an_old_name_owns_nothing_of_it(stage, between):
    set_out(stage)
    stage.run("writer", "INSERT INTO tabler.t VALUES (1, 'private')")
    # Refused while it has webhooks, like that of any owner.
    assert stage.tries("postgres", "DROP ROLE tabler") == "2BP01"
    stage.superuser.execute("DROP OWNED BY tabler CASCADE")
    for statement in filter(str.strip, between.split(";")):
        stage.as_("tabler").close()
        stage.superuser.execute(statement)
    stage._sessions.pop("tabler")
    stage.superuser.execute("SELECT webhook_grant('tabler', 'member')")
    stage.superuser.execute("CREATE SCHEMA IF NOT EXISTS tabler AUTHORIZATION tabler")
    stage.takes_these_rights()
    stage.webhook("tabler", "new", events="{a.*}")
    assert stage.run("tabler", "SELECT name FROM webhook.webhooks").fetchall() == [("new",)]
    assert stage.run("tabler", "SELECT payload FROM webhook.deliveries").fetchall() == []
    assert stage.tries("tabler", "SELECT webhook_rotate_secret('hook')") == "42704"
    stage.superuser.execute("DROP OWNED BY tabler")
    stage.takes_these_rights()


#: Who wants to give which webhook to whom.
GIVING = [
    ("member", "mine", "postgres"), ("member", "mine", "admin"), ("member", "mine", "stranger"), ("member", "hook", "member"),
    ("admin", "hook", "admin"), ("admin", "mine", "admin"), ("admin", "hook", "member"), ("admin", "mine", "postgres"),
    ("stranger", "mine", "stranger"), ("nobody", "hook", "nobody"), ("viewer", "hook", "viewer"), ("oper", "hook", "oper"),
]


@pytest.mark.parametrize("who, which, to", GIVING)
def test_nobody_gives_without_the_rights_of_both(stage, who, which, to):
    set_out(stage)
    before = live(stage)
    # A member does not see another's, and others may not call it.
    unseen = (who, which) in (("member", "hook"), ("stranger", "mine"))
    refused = stage.tries(who, "SELECT webhook_update(%s, owner => %s)", which, to)
    assert refused == ("42704" if unseen else "42501")
    assert live(stage) == before


NOBODY = {"-": "42704", "0": "42704", "999999": "42704", "pg_read_all_data": "42501", "pg_database_owner": "42501", "public": "42704"}


@pytest.mark.parametrize("to", NOBODY)
def test_nobody_is_no_owner(stage, to):
    set_out(stage)
    before = live(stage)
    assert stage.tries("member", "SELECT webhook_update('mine', owner => %s)", to) == NOBODY[to]
    assert live(stage) == before


def test_what_is_given_away_is_not_the_givers_any_more(stage, receiver):
    """Secret and header values go along, and the former owner neither sees nor changes them."""
    stage.group("team", "member")
    stage.superuser.execute("GRANT team TO member")
    stage.webhook("member", events="{a.*}", url=receiver.url("/"), headers='{"x-token": "of-the-team"}')
    stage.run("member", "SELECT webhook_update('hook', owner => 'team')")
    stage.superuser.execute("REVOKE team FROM member; GRANT team TO tabler")
    stage.takes_these_rights()
    for call in ("webhook_rotate_secret('hook')", "webhook_update('hook', url => 'http://127.0.0.1:9/x')",
                 "webhook_update('hook', owner => 'member')", "webhook_delete('hook')", "webhook_preview('hook', 'a.b', '{}')"):
        assert stage.tries("member", f"SELECT * FROM {call}") == "42704", call
    assert stage.value("member", "SELECT webhook_emit('a.b', '{}')") == 0
    assert stage.value("tabler", "SELECT webhook_emit('a.b', '{}')") == 1
    assert receiver.wait(1)[0].headers["x-token"] == "of-the-team"


def test_two_roles_that_are_made_one_keep_their_secrets_apart(stage):
    """REASSIGN OWNED makes two webhooks of one name: neither is taken for the other."""
    set_out(stage)
    stage.webhook("member", signature="sha256", secret="fedcba9876543210fedc", events="{b}")
    assert stage.tries("member", "REASSIGN OWNED BY tabler TO member") == "42501"
    stage.superuser.execute("REASSIGN OWNED BY tabler TO member")
    stage.takes_these_rights()
    for call in ("webhook_rotate_secret('hook')", "webhook_update('hook', url => 'http://127.0.0.1:9/x')",
        "webhook_delete('hook')"):
        assert stage.tries("member", f"SELECT {call}") == "42725", call
    secrets = stage.superuser.execute("SELECT signing_key FROM webhook.secret ORDER BY 1").fetchall()
    assert ("0123456789abcdef0123",) in secrets and ("fedcba9876543210fedc",) in secrets


def test_an_anchor_in_use_does_not_keep_a_webhook_from_ending(stage):
    set_out(stage)
    stage.as_("member").execute(f"CREATE TABLE member.uses (c webhook.{anchor(stage, 'mine')})")
    stage.run("member", "SELECT webhook_delete('mine')")
    assert live(stage) == {("hook", "tabler")}
