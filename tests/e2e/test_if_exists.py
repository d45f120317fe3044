"""A migration that makes webhooks can run twice, and twice at once."""

import threading

import psycopg
import pytest

from harness import wait_until
from harness.waiting import waits_for_a_lock
from test_missing_ok import notices

URL = "http://127.0.0.1:9/"
OTHER = "http://127.0.0.1:9/other"

SETTINGS = """
    SELECT url, description, enabled, tables, event_types, emitters, format, signature, signature_header, transform,
           on_transform_error, headers, max_retries, timeout_seconds, retry_backoff_seconds, retry_for, max_concurrency,
           rate_limit, max_backlog, max_backlog_bytes, max_backlog_age, dead_letter_retention, disable_after,
           batch_size, batch_bytes, batch_wait, batch_format, owner
    FROM webhook.webhooks WHERE name = %s
"""

EVERYTHING = """
    events => '{INSERT,UPDATE,invoice.*}', columns => '{id}', condition => 'NEW.id > 1', payload_columns => '{id}',
    transform => 'as_it_is(jsonb)', headers => '{"X-A": "1"}', description => 'all of it', enabled => false,
    format => 'truss', signature => 'sha256', signature_header => 'x-signed', max_retries => 3, timeout_seconds => 10,
    retry_backoff_seconds => 2, retry_for => '1 day', max_concurrency => 3, rate_limit => 7, on_transform_error => 'fail',
    emitters => ARRAY[current_user]::regrole[], max_backlog => 5, max_backlog_bytes => 6, max_backlog_age => '7 days',
    dead_letter_retention => '8 days', disable_after => '9 days',
    batch_size => 7, batch_bytes => 5000, batch_wait => '2 seconds', batch_format => 'ndjson'
"""


@pytest.fixture
def ann(people):
    ann = people("ann", "member")
    ann.run("CREATE TABLE things (id int, note text); CREATE TABLE others (id int)")
    ann.run("CREATE FUNCTION as_it_is(jsonb) RETURNS jsonb LANGUAGE sql RETURN $1")
    return ann


def make(person, settings="'things'", url=URL, if_exists="replace"):
    [row] = person.connection.execute(
        f"SELECT * FROM webhook_create('hook', '{url}', {settings}, if_exists => '{if_exists}')"
    ).fetchall()
    return dict(zip(("id", "name", "url", "secret", "enabled", "created_at", "action"), row))


def test_a_webhook_that_is_there_is_an_error_unless_one_says_otherwise(ann):
    assert make(ann, if_exists="error")["action"] == "created"
    for if_exists in ("", ", if_exists => 'error'", ", if_exists => NULL"):
        with pytest.raises(psycopg.errors.DuplicateObject):
            ann.run(f"SELECT webhook_create('hook', '{URL}'{if_exists})")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="Ignore.*is no value of if_exists") as caught:
        ann.run(f"SELECT webhook_create('hook', '{URL}', if_exists => 'Ignore')")
    assert caught.value.diag.message_hint == "It is one of error, skip, replace."


def test_skip_leaves_it_as_it_is(ann):
    made = make(ann, if_exists="skip")
    before = ann.rows(SETTINGS, "hook")
    assert made["action"] == "created" and made["secret"].startswith("whsec_")
    again = make(ann, "'others', description => 'another'", url=OTHER, if_exists="skip")
    assert again == {**made, "secret": None, "action": "unchanged"}
    assert ann.rows(SETTINGS, "hook") == before
    skipped = f"SELECT webhook_create('hook', '{URL}', if_exists => 'skip')"
    assert notices(ann, skipped) == [("NOTICE", 'webhook "hook" already exists, skipping')]


def test_replace_makes_of_it_what_it_would_be_if_it_were_made_now(ann, db):
    made = make(ann, f"'things', {EVERYTHING}")
    assert made["action"] == "created" and made["enabled"] is False
    everything = ann.rows(SETTINGS, "hook")
    key = db.value("SELECT signing_key FROM webhook.secret")
    nothing = make(ann, "'things'", url=OTHER)
    assert nothing == {**made, "url": OTHER, "secret": None, "enabled": True, "action": "replaced"}
    assert db.value("SELECT signing_key FROM webhook.secret") == key
    ann.run(f"SELECT webhook_create('fresh', '{OTHER}', 'things')")
    assert ann.rows(SETTINGS, "hook") == ann.rows(SETTINGS, "fresh")
    assert make(ann, f"'things', {EVERYTHING}")["action"] == "replaced"
    assert ann.rows(SETTINGS, "hook") == everything
    # Without a table it watches none.
    assert make(ann, "events => '{order.*}'")["action"] == "replaced"
    assert ann.rows("SELECT tables, event_types FROM webhook.webhooks WHERE name = 'hook'") == [(None, ["order.*"])]


@pytest.mark.parametrize("settings", [
    "'things'",
    "NULL, events => '{a.b}'",
    f"'things', {EVERYTHING}",
    "'things', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'",
    "'things', '{TRUNCATE,DELETE,update}', columns => '{note,id}', payload_columns => '{note}'",
])
def test_what_is_as_it_is_to_be_is_unchanged_and_nothing_is_locked(ann, db, settings):
    make(ann, settings)
    rows = db.rows("SELECT ctid::text, xmin::text FROM webhook.webhook UNION ALL SELECT ctid::text, xmin::text FROM webhook.secret")
    ann.run("BEGIN")
    ann.run("SET LOCAL intervalstyle = 'iso_8601'")
    again = make(ann, settings)
    held = db.rows(
        "SELECT mode FROM pg_locks WHERE pid = %s AND relation = %s::regclass AND mode <> 'AccessShareLock'",
        ann.connection.info.backend_pid, f"{ann.role}.things",
    )
    ann.run("COMMIT")
    assert again["action"] == "unchanged" and again["secret"] is None and held == []
    assert db.rows("SELECT ctid::text, xmin::text FROM webhook.webhook UNION ALL SELECT ctid::text, xmin::text FROM webhook.secret") == rows


def test_replace_keeps_log_and_what_waits_and_takes_a_secret_that_is_given(ann, db, receiver):
    make(ann, url=receiver.url("/"))
    ann.run("INSERT INTO things VALUES (1)")
    db.wait_for_status(1, "delivered")
    ann.run("SELECT webhook_pause('hook')")
    ann.run("INSERT INTO things VALUES (2)")
    db.wait_for_status(1, "pending")
    given = "'things', description => 'new', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'"
    assert make(ann, given, url=receiver.url("/"))["action"] == "replaced"
    assert db.value("SELECT signing_key FROM webhook.secret") == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert dict(db.statuses()) == {"delivered": 1, "pending": 1}
    ann.run("SELECT webhook_resume('hook')")
    db.wait_for_status(2, "delivered")


def test_replace_makes_triggers_whole_again(ann, db):
    """Also where nothing else has changed: with their condition, which is given."""
    given = "'things', '{INSERT,DELETE}'"
    conditional = "'things', '{INSERT}', condition => 'NEW.id > 5'"
    for settings in (given, conditional):
        make(ann, settings)
        name = ann.value("SELECT tgname FROM pg_trigger WHERE tgrelid = 'things'::regclass AND tgname ~ 'insert$'")
        ann.run(f'DROP TRIGGER "{name}" ON things')
        assert ann.value("SELECT health FROM webhook.webhooks") == "broken"
        assert make(ann, settings)["action"] == "replaced"
        assert ann.value("SELECT health FROM webhook.webhooks") == "healthy"
        assert make(ann, settings)["action"] == "unchanged"


def test_a_table_in_the_place_of_another(ann):
    make(ann, "'things', condition => 'OLD.note IS NULL', events => '{UPDATE}'")
    assert make(ann, "'others', condition => 'OLD.id > 1', events => '{UPDATE}'")["action"] == "replaced"
    tables = ann.value("SELECT tables FROM webhook.webhooks")
    assert list(tables) == [f"{ann.role}.others"]
    # One that has been made anew is another one of the same name.
    ann.run("DROP TABLE others; CREATE TABLE others (id int)")
    again = "'others', condition => 'OLD.id > 1', events => '{UPDATE}'"
    assert make(ann, again)["action"] == "replaced"
    assert ann.value("SELECT health FROM webhook.webhooks") == "healthy"
    assert make(ann, again)["action"] == "unchanged"


def test_others_webhooks_of_that_name_are_not_meant(ann, people, db):
    """Not even where the caller may manage them."""
    boss = people("boss", "admin")
    member = people("member", "member", member_of=[ann])
    make(ann)
    for person in (boss, member):
        person.run("CREATE TABLE things (id int)")
        for if_exists in ("skip", "replace"):
            person.run("BEGIN")
            assert make(person, if_exists=if_exists)["action"] == "created"
            person.run("ROLLBACK")
    assert db.value("SELECT count(*) FROM webhook.webhooks") == 1


def test_what_is_refused_changes_nothing(ann):
    make(ann, "'things', description => 'kept'")
    before = ann.rows(SETTINGS, "hook")
    for settings in ("'things', timeout_seconds => 0", "'things', timeout_seconds => NULL", "'things', columns => '{nothing}'",
                     "'things', condition => 'NEW.nothing > 1'", "'things', signature => 'md5'",
                     "'things', transform => 'now()'", "'things', emitters => '{4294967294}'", "'pg_class'"):
        with pytest.raises(psycopg.Error) as caught:
            make(ann, settings)
        assert not caught.value.sqlstate.startswith("XX"), settings
        assert ann.rows(SETTINGS, "hook") == before


class Other:
    """The same migration in another session, which has to wait for the first."""

    def __init__(self, db, session, statement):
        self.session, self.statement, self.rows, self.error = session, statement, None, None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        wait_until(lambda: waits_for_a_lock(db.connection, session.connection), "it does not wait")

    def run(self):
        try:
            self.rows = self.session.rows(self.statement)
        except psycopg.Error as error:
            self.error = error

    def end(self):
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.error and self.error.sqlstate, self.rows


@pytest.fixture
def twin(ann, cluster, db):
    from harness.session import Session

    with cluster.connect(db.name, user=ann.role) as connection:
        yield Session(connection)


@pytest.mark.parametrize("settings", ["'things'", "'things', emitters => ARRAY[current_user]::regrole[]"])
@pytest.mark.parametrize("if_exists", ["skip", "replace"])
def test_two_sessions_run_the_same_migration_at_once(ann, twin, db, if_exists, settings):
    """The role's first webhook, so that also what stands for it as an owner is made by one of them; and a transaction that stays
    open for longer than others are usually waited for."""
    statement = f"SELECT action FROM webhook_create('hook', '{URL}', {settings}, if_exists => '{if_exists}')"
    ann.run("BEGIN")
    assert ann.rows(statement) == [("created",)]
    other = Other(db, twin, statement)
    threading.Event().wait(2.5)
    ann.run("COMMIT")
    assert other.end() == (None, [("unchanged",)])
    # A further one, and both make the same of it.
    statement = f"SELECT action FROM webhook_create('hook', '{OTHER}', {settings}, if_exists => '{if_exists}')"
    if if_exists == "replace":
        ann.run("BEGIN")
        assert ann.rows(statement) == [("replaced",)]
        other = Other(db, twin, statement)
        ann.run("COMMIT")
        assert other.end() == (None, [("unchanged",)])
    # The first gives up.
    for person_first in (True, False):
        ann.run("SELECT webhook_delete('hook', missing_ok => true)")
        ann.run("BEGIN")
        assert ann.rows(statement) == [("created",)]
        other = Other(db, twin, statement)
        ann.run("ROLLBACK")
        assert other.end() == (None, [("created",)])
    assert db.value("SELECT count(*) FROM webhook.webhooks") == 1


def test_an_old_snapshot(ann, twin):
    """What another has made since is found, or the transaction is one to try again, as PostgreSQL says."""
    twin.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
    twin.run("SELECT 1 FROM webhook.webhooks")
    make(ann, "'things'")
    skip = f"SELECT action FROM webhook_create('hook', '{URL}', 'things', if_exists => '%s')"
    assert twin.rows(skip % "skip") == [("unchanged",)]
    assert twin.rows(skip % "replace") == [("unchanged",)]
    with pytest.raises(psycopg.errors.SerializationFailure):
        twin.rows(f"SELECT webhook_create('hook', '{OTHER}', 'things', if_exists => 'replace')")
    twin.run("ROLLBACK")


def test_a_webhook_that_is_deleted_meanwhile_is_made_anew(ann, twin, db):
    make(ann)
    ann.run("BEGIN; SELECT webhook_delete('hook')")
    other = Other(db, twin, f"SELECT action FROM webhook_create('hook', '{OTHER}', 'things', if_exists => 'replace')")
    ann.run("COMMIT")
    assert other.end() == (None, [("created",)])
