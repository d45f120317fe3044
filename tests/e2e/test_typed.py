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
    ("ALTER COLUMN previous_keys TYPE bytea USING NULL::bytea, ALTER COLUMN previous_keys DROP NOT NULL",
     'column "previous_keys" of statement "registry/secret" is of another type (oid 17)'),
    ("ALTER COLUMN previous_until TYPE date[] USING previous_until::date[]",
     'column "previous_until" of statement "registry/secret" is of another type'),
    ("ADD COLUMN note text NOT NULL DEFAULT 'x'", 'table "secret" has other columns than a row that is to be written'),
    ("ALTER COLUMN previous_keys TYPE varchar[]", 'table "secret" has other columns than a row that is to be written'),
    ("ALTER COLUMN signing_key SET NOT NULL", None),
])
def test_a_table_of_other_types(db, member, change, told):
    member.execute("SELECT webhook_update('hook', headers => '{\"X-A\": \"1\"}')")  # plans and caches are there
    statement = "SELECT webhook_update('hook', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')"
    if "varchar" in change:
        # One that is written and was not read before.
        statement = "SELECT webhook_create('other', 'http://127.0.0.1:9/')"
    if told is None:
        # As after a restore, which brings no secret: a row without a key is to be written.
        db.run("DELETE FROM webhook.secret")
        statement = "SELECT webhook_update('hook', headers => '{\"X-B\": \"1\"}')"
        told = 'table "secret" has other columns than a row that is to be written'
    db.run(f"ALTER TABLE webhook.secret {change}")
    for _ in range(2):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            member.execute(statement)
        assert told in caught.value.diag.message_primary
    assert member.execute("SELECT count(*) FROM webhook.webhooks").fetchone() == (1,), "the session goes on"
