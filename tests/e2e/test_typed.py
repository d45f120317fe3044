"""Tables that an administrator has changed: an error that says which, and never a value taken for what it is not."""

import psycopg
import pytest


@pytest.fixture
def member(db, cluster, receiver):
    """A member's connection; it has a webhook."""
    name = f"{db.name}_mem"
    db.run(f"CREATE ROLE {name} LOGIN")
    db.run("SELECT webhook_grant(%s, 'member')", name)
    with cluster.connect(db.name, user=name) as connection:
        connection.execute("SELECT webhook_create('hook', %s)", [receiver.url("/")])
        yield connection
    db.run(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("change, told", [
    ("ALTER COLUMN previous_key TYPE bytea USING convert_to(previous_key, 'UTF8')",
     'column "previous_key" of statement "registry/secret" is of another type (oid 17)'),
    ("ALTER COLUMN previous_until TYPE date", 'column "previous_until" of statement "registry/secret" is of another type'),
    ("ADD COLUMN note text NOT NULL DEFAULT 'x'", 'table "secret" has other columns than a row that is to be written'),
    ("ALTER COLUMN previous_key TYPE varchar", 'table "secret" has other columns than a row that is to be written'),
    ("ALTER COLUMN previous_key SET DEFAULT 'x', ALTER COLUMN previous_key SET NOT NULL", None),
])
def test_a_table_of_other_types(db, member, change, told):
    if told is None:
        db.run("UPDATE webhook.secret SET previous_key = 'x'")
        told = 'table "secret" has other columns than a row that is to be written'
    member.execute("SELECT webhook_update('hook', headers => '{\"X-A\": \"1\"}')")  # plans and caches are there
    db.run(f"ALTER TABLE webhook.secret {change}")
    # A new secret ends a rotation, so that previous_key becomes null.
    statement = "SELECT webhook_update('hook', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')"
    for _ in range(2):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            member.execute(statement)
        assert told in caught.value.diag.message_primary
    assert member.execute("SELECT count(*) FROM webhook.webhooks").fetchone() == (1,), "the session goes on"
