"""Whose a webhook is says a view, to whoever looks, and a look at the catalog, to whoever writes: the same in each state."""

import json

import pytest

#: What may have become of the domain {0} that says whose a webhook is, or of its role {1}; {2} is another role.
CHANGES = {
    "intact": "SELECT",
    "role renamed": "ALTER ROLE {1} RENAME TO {3}",
    "another owner": "ALTER DOMAIN webhook.{0} OWNER TO {2}",
    "renamed": "ALTER DOMAIN webhook.{0} RENAME TO owner_of_nobody",
    "replaced": "ALTER DOMAIN webhook.{0} RENAME TO owner_of_nobody; CREATE DOMAIN webhook.{0} AS boolean",
    "replaced by a text": "DROP DOMAIN webhook.{0}; CREATE DOMAIN webhook.{0} AS text",
    "replaced by an enum": "DROP DOMAIN webhook.{0}; CREATE TYPE webhook.{0} AS ENUM ('a')",
    "dropped": "DROP DOMAIN webhook.{0}",
    "another schema": "ALTER DOMAIN webhook.{0} SET SCHEMA public",
    "check": "ALTER DOMAIN webhook.{0} ADD CHECK (VALUE)",
    "check not valid": "ALTER DOMAIN webhook.{0} ADD CONSTRAINT c CHECK (VALUE) NOT VALID",
    "default": "ALTER DOMAIN webhook.{0} SET DEFAULT true",
    "default null": "ALTER DOMAIN webhook.{0} SET DEFAULT NULL",
    "not null": "ALTER DOMAIN webhook.{0} SET NOT NULL",
    "check and back": "ALTER DOMAIN webhook.{0} ADD CONSTRAINT c CHECK (VALUE); ALTER DOMAIN webhook.{0} DROP CONSTRAINT c",
}

#: What is recorded of the domain: as it was made; nothing, as after a restore; and what webhook_arm records.
RECORDS = {
    "made": "SELECT",
    "not recorded": "DELETE FROM webhook.owner",
    "not recorded, of another role": "DELETE FROM webhook.owner; UPDATE webhook.webhook SET owner_name = 'Some \"body'",
    "of another role": "UPDATE webhook.owner SET confirmed = false",
    "another number": "UPDATE webhook.owner SET type = 'webhook.webhooks'::regtype",
    "missing": "UPDATE webhook.owner SET type = 0",
}


@pytest.fixture
def domain(db):
    """That of a role with a webhook. A cast tells as whom it runs; it is the superuser's, so that any role may run it."""
    role, other = f"{db.name}_Owner", f"{db.name}_other"
    db.run(
        f'CREATE ROLE "{role}" LOGIN; CREATE ROLE {other}; CREATE TYPE mood AS ENUM (\'happy\');'
        "CREATE FUNCTION as_json(mood) RETURNS json LANGUAGE sql AS 'SELECT to_json(current_user)';"
        "CREATE CAST (mood AS json) WITH FUNCTION as_json(mood);"
        "CREATE TABLE felt (m mood); GRANT SELECT, TRIGGER ON felt TO PUBLIC"
    )
    db.run("SELECT webhook_grant(%s::regrole, 'member')", f'"{role}"')
    with db.cluster.connect(db.name, user=role) as owner:
        owner.execute("SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'felt')")
    yield db.value("SELECT owner FROM webhook.webhook"), f'"{role}"', other, f'"{db.name}_Else"'
    db.run(f'DROP OWNED BY "{role}", {other}; DROP ROLE "{role}", {other}')


@pytest.mark.parametrize("record", RECORDS)
def test_both_say_the_same(db, domain, record):
    for change, statements in CHANGES.items():
        with db.cluster.connect(db.name) as session:
            session.execute("BEGIN")
            session.execute(statements.format(*domain))
            session.execute(RECORDS[record])
            role, confirmed = session.execute("""
                SELECT pg_get_userbyid(nullif(role, 0))::text, confirmed FROM webhook.owned
            """).fetchone()
            session.execute("INSERT INTO felt VALUES ('happy')")
            ran = [json.loads(body)["record"]["m"] for body, in session.execute("SELECT payload FROM webhook.event")]
            as_whom = [] if role is None else [role if confirmed else "happy"]
            assert ran == as_whom, change
            if as_whom == ["happy"]:
                [told] = session.execute("""
                    SELECT problem FROM webhook_check() WHERE hint ~ 'confirms that'
                """).fetchone()
                [reason] = session.execute("""
                    SELECT reason FROM webhook_preview('hook', 'INSERT', '{"m": "happy"}')
                """).fetchone()
                assert told == f"{reason}: it runs no transform and no cast", change
            session.execute("ROLLBACK")
