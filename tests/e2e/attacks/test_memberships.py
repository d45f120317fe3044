"""A membership is not the member's choice: whoever may grant a role makes anybody a member of it."""

import pytest

VICTIMS = ["postgres", "admin", "stranger"]


def team_of(stage, victim, code):
    """The victim becomes a member of role `team`, to which what `code` makes belongs."""
    stage.group("team", "member")
    member = stage.as_("member")
    member.execute(f"GRANT team TO {victim}")
    for statement in code:
        member.execute(statement)
    stage.superuser.execute("CREATE SCHEMA IF NOT EXISTS victim; GRANT ALL ON SCHEMA victim TO PUBLIC")
    stage.takes_these_rights()


def table_of(stage, victim, columns):
    stage.as_(victim).execute(f"CREATE TABLE victim.t ({columns}); GRANT ALL ON victim.t TO writer")
    stage.takes_these_rights()


def transform_of_team(stage, victim):
    stage.spy("member", "shape", "jsonb", "jsonb", "v")
    team_of(stage, victim, ["ALTER FUNCTION member.shape(jsonb) OWNER TO team"])


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_teams_transform_is_refused_to_its_members(stage, victim):
    transform_of_team(stage, victim)
    create = "SELECT webhook_create('hook', 'http://127.0.0.1:9/', events => '{a.*}', transform => 'member.shape(jsonb)')"
    assert stage.tries(victim, create) == "42501"
    stage.webhook(victim, events="{a.*}")
    stage.takes_these_rights()
    assert stage.tries(victim, "SELECT webhook_update('hook', transform => 'member.shape(jsonb)')") == "42501"


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_transform_that_a_victim_gave_to_a_team_is_not_called(stage, victim):
    """It was the victim's own when it was chosen."""
    team_of(stage, victim, [])
    table_of(stage, victim, "id int")
    stage.as_(victim).execute("""
        CREATE FUNCTION victim.shape(v jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT v';
        GRANT CREATE ON SCHEMA victim TO team
    """)
    stage.webhook(victim, table_name="victim.t", events="{INSERT,a.*}", transform="victim.shape(jsonb)")
    stage.as_(victim).execute("ALTER FUNCTION victim.shape(jsonb) OWNER TO team")
    stage.takes_these_rights()
    stage.spy("member")
    stage.as_("member").execute("""
        SET ROLE team;
        CREATE OR REPLACE FUNCTION victim.shape(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS
        'BEGIN PERFORM member.spy(1); RETURN v; END';
        RESET ROLE
    """)
    for who, statement in (
        ("writer", "INSERT INTO victim.t VALUES (1)"), (victim, "SELECT webhook_invoke('hook', ROW(1))"),
        (victim, "SELECT webhook_emit('a.b', '{}')"), (victim, "SELECT * FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')"),
        (victim, "SELECT webhook_replay_all('hook')"),
    ):
        stage.tries(who, statement)
    assert stage.spied() == []
    assert stage.value(victim, "SELECT health FROM webhook.webhooks WHERE name = 'hook'") == "broken"


@pytest.mark.parametrize("owned", ["type", "function", "both"])
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_teams_cast_is_not_called_for_its_members(stage, victim, owned):
    stage.spy("member")
    team_of(stage, victim, [
        "CREATE TYPE member.kind AS ENUM ('a')",
        "CREATE FUNCTION member.as_json(v member.kind) RETURNS json LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM member.spy(1); RETURN ''1''; END'",
        "CREATE CAST (member.kind AS json) WITH FUNCTION member.as_json(member.kind)",
        "ALTER TYPE member.kind OWNER TO team" if owned != "function" else "",
        "ALTER FUNCTION member.as_json(member.kind) OWNER TO team" if owned != "type" else "",
    ])
    table_of(stage, victim, "id int, k member.kind")
    stage.webhook(victim, table_name="victim.t", events="{INSERT}")
    stage.takes_these_rights()
    stage.run("writer", "INSERT INTO victim.t VALUES (1, 'a')")
    stage.run(victim, "SELECT webhook_invoke('hook', t) FROM victim.t")
    stage.run(victim, "SELECT * FROM webhook_preview('hook', 'INSERT', '{\"id\": 1, \"k\": \"a\"}')")
    assert stage.spied() == []
    assert stage.value("postgres", "SELECT count(*) FROM webhook.event WHERE payload ~ '\"k\":\"a\"'") == 2


@pytest.mark.parametrize("part", ["check", "condition"])
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_preview_calls_nothing_of_a_team_as_its_member(stage, victim, part):
    stage.spy("member")
    team_of(stage, victim, [
        "CREATE DOMAIN member.dom AS int CHECK (member.spy(value))", "ALTER DOMAIN member.dom OWNER TO team",
        "ALTER FUNCTION member.spy(int) OWNER TO team",
    ])
    table_of(stage, victim, "id member.dom" if part == "check" else "id int")
    condition = {"condition": "member.spy(NEW.id)"} if part == "condition" else {}
    stage.webhook(victim, table_name="victim.t", events="{INSERT}", **condition)
    stage.takes_these_rights()
    for who in (victim, "postgres"):
        stage.tries(who, "SELECT * FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')")
    assert stage.spied() == []


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_a_team_emits_is_not_for_its_members(stage, victim):
    """Nobody is made to send what it has not asked for."""
    team_of(stage, victim, [])
    stage.superuser.execute("SELECT webhook_grant('team', 'member')")
    stage.webhook(victim, events="{*}")
    stage.takes_these_rights()
    stage.as_("member").execute("SET ROLE team")
    assert stage.value("member", "SELECT webhook_emit('forged.thing', '{}')") == 0
    stage.as_("member").execute("RESET ROLE")
    stage.run(victim, "SELECT webhook_update('hook', emitters => '{team}')")
    stage.as_("member").execute("SET ROLE team")
    assert stage.value("member", "SELECT webhook_emit('asked.for', '{}')") == 1
    stage.as_("member").execute("RESET ROLE")
    assert stage.value("postgres", "SELECT string_agg(event_type, ',') FROM webhook.event") == "asked.for"


def test_a_role_that_nobody_may_grant_stays_who_it_is(stage):
    assert stage.tries("typer", "GRANT typer TO postgres") in ("42501", "0LP01")
    assert stage.tries("member", "GRANT admin TO member") == "42501"
    assert stage.tries("member", "REASSIGN OWNED BY member TO postgres") == "42501"
    assert stage.tries("member", "REASSIGN OWNED BY tabler TO member") == "42501"


def test_a_membership_without_its_rights_manages_nothing(stage):
    """NOINHERIT: the rights come with SET ROLE only, and this is no way around it."""
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int)")
    stage.webhook("tabler", table_name="tabler.t")
    stage.superuser.execute("ALTER ROLE member NOINHERIT; GRANT tabler TO member")
    stage.takes_these_rights()
    for call in ("webhook_update('hook', owner => 'member')", "webhook_update('hook', url => 'http://127.0.0.1:9/x')",
                 "webhook_rotate_secret('hook')", "webhook_delete('hook')", "webhook_invoke('hook', ROW(1))"):
        assert stage.tries("member", f"SELECT {call}") == "42704", call
    assert stage.run("member", "SELECT * FROM webhook.webhooks").fetchall() == []


def test_a_session_that_became_somebody_else_gives_nothing_back(stage):
    """SET SESSION AUTHORIZATION and SET ROLE of a superuser: code of the webhook's owner does not undo them."""
    for number, trace in enumerate((
        "EXECUTE 'RESET SESSION AUTHORIZATION';", "EXECUTE 'SET SESSION AUTHORIZATION DEFAULT';", "EXECUTE 'RESET ROLE';",
        "PERFORM set_config('session_authorization', 'default', false);", "PERFORM set_config('role', 'none', false);",
        "PERFORM set_config('is_superuser', 'on', false);",
    )):
        stage.spy("member", "shape", "jsonb", "jsonb", "v",
                  f"BEGIN {trace} PERFORM member.other(1); EXCEPTION WHEN OTHERS THEN NULL; END;")
        stage.spy("member", "other")
        if number == 0:
            stage.as_("member").execute("CREATE TABLE member.own (id int); GRANT INSERT ON member.own TO PUBLIC")
            stage.webhook("member", table_name="member.own", events="{INSERT}", transform="member.shape(jsonb)")
        for become in ("SET SESSION AUTHORIZATION writer", "SET ROLE writer", "SET SESSION AUTHORIZATION member"):
            session = stage.cluster.connect(stage.database.name)
            session.execute(become)
            before = session.execute("SELECT session_user, current_user, current_setting('is_superuser')").fetchone()
            session.execute("INSERT INTO member.own VALUES (1)")
            assert session.execute("SELECT session_user, current_user, current_setting('is_superuser')").fetchone() == before
            session.close()
    assert ("member", "member") in stage.spied()
