"""What waits moves to another database: webhook_backlog_export and webhook_backlog_import."""

import json

import psycopg
import pytest

from harness import wait_until
from harness.cluster import Database
from harness.copies import copy_database
from harness.dumps import dump, feed
from harness.receiver import reply

SECRET = "a secret of the receiver's"
EXPORT = "SELECT * FROM webhook_backlog_export()"
IMPORT = "SELECT webhook_backlog_import(m), count(*) FROM moving AS m GROUP BY 1 ORDER BY 1"


def restored(origin, make_db, name):
    """A database with the definitions of `origin`, in its server."""
    copy = make_db(origin.cluster, name, extension=False)
    feed(copy, dump(origin))
    copy.run("SELECT webhook_arm()")
    copy.wait_for_worker()
    for (webhook,) in copy.rows("SELECT id FROM webhook.webhooks"):
        copy.run("SELECT webhook_update(%s, secret => %s)", str(webhook), SECRET)
    return copy


def carry(origin, copy):
    """As psql's \\copy does it; by way of a table, as the recipe does."""
    copy.run(f"CREATE TABLE moving AS {EXPORT} WITH NO DATA")
    with origin.connection.cursor().copy(f"COPY ({EXPORT}) TO STDOUT") as out:
        data = b"".join(bytes(part) for part in out)
    with copy.connection.cursor().copy("COPY moving FROM STDIN") as into:
        into.write(data)
    return copy.rows(IMPORT)


@pytest.fixture
def waiting(db, receiver):
    """One event that is retried, one that nobody has tried, two dead letters, of which the transform of one has failed;
    and what is not to be moved: one delivered, one cancelled, one replayed, a test."""
    receiver.default(reply(500, b"not now"))
    receiver.on("/good", reply(200))
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.run("CREATE FUNCTION broken(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$")
    common = {"secret": SECRET, "signature": "sha256"}
    db.create("good", receiver.url("/good"), table_name="items", **common)
    db.create("retried", receiver.url("/retried"), table_name="items", retry_backoff_seconds=36000, **common)
    db.create("paused", receiver.url("/paused"), table_name="items", **common)
    db.create("dead", receiver.url("/dead"), table_name="items", max_retries=0, **common)
    db.create("broken", receiver.url("/broken"), table_name="items", transform="broken(jsonb)", **common)
    db.run("SELECT webhook_pause('paused')")
    db.run("INSERT INTO items VALUES (1, 'ä\t\\\"\n')")
    db.run("SELECT webhook_test('dead')")
    expected = {"delivered": 1, "retrying": 1, "pending": 1, "dead": 2}

    def settled():
        rows = db.rows("SELECT status, count(*) FROM webhook.deliveries WHERE event_type <> 'TEST' GROUP BY 1")
        return dict(rows) == expected

    wait_until(settled, lambda: str(db.rows("SELECT webhook, status, error FROM webhook.deliveries")))
    return db


FIELDS = "webhook, id, event_id, event_type, schema_name, table_name, payload, attempts, status_code, error, response_body, created_at"


def moved(db):
    return db.rows(f"SELECT {FIELDS}, status FROM webhook.deliveries WHERE status IN ('pending', 'retrying', 'dead') AND event_type <> 'TEST' ORDER BY id")


def test_what_waits_goes_on_elsewhere(waiting, make_db, receiver):
    db = waiting
    before = moved(db)
    assert len(before) == 4
    copy = restored(db, make_db, f"{db.name}_copy")
    copy.run("SET synchronous_commit = off")
    with copy.connection.transaction():
        assert carry(db, copy) == [(True, 4)]
        written = copy.value("SELECT pg_current_wal_insert_lsn()")
    # A crash takes back nothing that is sent.
    assert copy.value("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", written)
    assert moved(copy) == before
    # Once more: it is there.
    assert copy.rows(IMPORT) == [(False, 4)]
    # What has been due for a while is due from now on.
    the_same = "SELECT to_jsonb(e) - 'next_attempt_at', CASE WHEN e.next_attempt_at > now() THEN e.next_attempt_at END"
    assert copy.rows(f"{the_same} FROM ({EXPORT}) AS e") == db.rows(f"{the_same} FROM ({EXPORT}) AS e")
    sent = len(receiver.got())
    receiver.default(reply(200))
    copy.run("SELECT webhook_resume('paused')")
    [paused] = receiver.wait(1, "/paused")
    of = {row[0]: row for row in before}
    assert (paused.id, paused.body.decode()) == (of["paused"][2], of["paused"][6])
    # What is dead is replayed, and the transform is called, which has been mended.
    copy.run("CREATE OR REPLACE FUNCTION broken(jsonb) RETURNS jsonb LANGUAGE sql RETURN $1 || '{\"mended\": true}'")
    assert copy.job("webhook_replay_all()") == 1
    assert copy.value("SELECT count(webhook_replay(id)) FROM webhook.dead_letters WHERE webhook = 'broken'") == 1
    wait_until(lambda: len(receiver.got()) == sent + 3, "two more")
    dead, broken = receiver.got("/dead")[-1], receiver.got("/broken")[-1]
    assert (dead.id, dead.body.decode()) == (of["dead"][2], of["dead"][6])
    assert broken.id == of["broken"][2] and json.loads(broken.body)["mended"]
    # What has ended is not taken up again.
    left = "SELECT count(*) FROM webhook.pending AS p JOIN webhook.webhook AS w ON w.id = p.webhook WHERE w.name = 'paused'"
    wait_until(lambda: copy.value(left) == 0, "the end")
    assert copy.rows(IMPORT) == [(False, 4)]
    copy.drop()


def test_retries_do_not_end_by_a_move(db, receiver):
    """The time of which, as far as something was due in it, counts as if nobody had been there. What is not due waits on."""
    receiver.default(reply(500))
    db.create("hook", receiver.url("/"), retry_backoff_seconds=3600, retry_for="4 hours")
    db.run(f"CREATE TABLE moving AS {EXPORT} WITH NO DATA")
    for number, due in enumerate(("-5 hours", "1 hour"), 1):
        db.run(f"""
            INSERT INTO moving (webhook, id, transaction, event_id, event_type, payload, created_at, next_attempt_at, first_attempt_at, attempts)
            SELECT w.id, {number}, '3', 'evt_{number}', 'MANUAL', '{{}}', now(), now() + '{due}', now() - interval '6 hours', 1 FROM webhook.webhooks AS w
        """)
    assert db.rows(IMPORT) == [(True, 2)]
    receiver.wait(1)
    wait_until(lambda: db.value("SELECT attempts FROM webhook.deliveries WHERE id = 1") == 2, "the attempt to be written")
    assert db.statuses() == {"retrying": 2}
    moved = db.rows("SELECT id, extract(epoch FROM now() - first_attempt_at) / 3600, extract(epoch FROM next_attempt_at - now()) / 3600 FROM webhook_backlog_export()")
    [(_, tried, left), (_, tried_later, left_later)] = [[float(value) for value in row] for row in moved]
    assert (round(tried), round(tried_later), round(left_later)) == (1, 6, 1)
    assert 1.5 < left < 2.5


def test_an_id_that_another_delivery_has(waiting, make_db, receiver):
    """It is not taken for that one, and does not take its place."""
    db = waiting
    copy = restored(db, make_db, f"{db.name}_copy")
    assert carry(db, copy) == [(True, 4)]
    copy.run("UPDATE moving SET transaction = '1', event_id = event_id || '_other'")
    assert copy.rows(IMPORT) == [(True, 4)]
    ids = copy.rows("SELECT id, event_id FROM webhook.dead_letters ORDER BY id")
    assert len(ids) == len(dict(ids)) == 4
    assert sum(event.endswith("_other") for _, event in ids) == 2
    assert copy.rows(IMPORT) == [(False, 4)], "it is known although its id is another one"
    copy.drop()


def test_an_id_of_the_ring_and_one_to_come(db, receiver):
    """Neither is taken for another delivery's, nor becomes that later."""
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    db.create("paused", receiver.url("/paused"))
    db.run("SELECT webhook_pause('paused')")
    db.run(f"CREATE TABLE moving AS {EXPORT} WITH NO DATA")
    for number, given in enumerate(("(SELECT id FROM webhook.deliveries)", "9007199254740991")):
        db.run(f"""
            INSERT INTO moving (webhook, id, transaction, event_id, event_type, payload, created_at, next_attempt_at, attempts)
            SELECT w.id, {given}, '3', 'evt_{number}', 'MANUAL', '{{}}', now(), now(), 0 FROM webhook.webhooks AS w WHERE name = 'paused'
        """)
    assert db.rows(IMPORT) == [(True, 2)]
    assert db.rows(IMPORT) == [(False, 2)]
    ids = [row[0] for row in db.rows("SELECT id FROM webhook.deliveries")]
    assert len(ids) == len(set(ids)) == 3 and max(ids) < 9007199254740991


@pytest.mark.parametrize("keep", [False, True])
def test_a_copy_that_is_armed_keeps_what_was_imported_there(own_cluster, make_db, receiver, keep):
    """And forgets, where it does, what had been imported in the original: whatever the transactions were elsewhere."""
    server = own_cluster()
    db = make_db(server, "origin")
    db.create("hook", receiver.url("/"), events=["any.*"])
    db.run("SELECT webhook_pause('hook')")
    db.run(f"CREATE TABLE moving AS {EXPORT} WITH NO DATA")

    def take_over(session, name, transaction):
        session.execute("TRUNCATE moving")
        session.execute(f"""
            INSERT INTO moving (webhook, id, transaction, event_id, event_type, payload, created_at, next_attempt_at, attempts)
            SELECT w.id, {transaction}, '{transaction}', '{name}', 'any.thing', '{{}}', now(), now(), 0 FROM webhook.webhooks AS w
        """)
        assert session.execute(IMPORT).fetchall() == [(True, 1)]

    take_over(db.connection, "before", 999999999999)
    db.close()
    copy_database(server, "origin", "copy")
    with server.connect("copy") as copy:
        wait_until(lambda: copy.execute("SELECT state FROM webhook.worker").fetchone() == ("unarmed",), "the worker")
        take_over(copy, "since", 3)
        assert copy.execute("SELECT webhook_arm(keep => %s)", [keep]).fetchone() == (True,)
        waiting = [row[0] for row in copy.execute("SELECT event_id FROM webhook.deliveries ORDER BY 1")]
        assert waiting == (["before", "since"] if keep else ["since"])


def test_an_admin_brings_no_body_for_the_transform_of_another_role(waiting, people):
    """It runs over that for those alone who have the rights as which it runs."""
    db, admin = waiting, people("adm", "admin")
    db.run(f"CREATE TABLE moving AS {EXPORT}; UPDATE moving SET transaction = '1', event_id = 'evt_made', payload = '{{}}'")
    db.run(f"GRANT SELECT ON moving TO PUBLIC; CREATE OR REPLACE FUNCTION broken(jsonb) RETURNS jsonb LANGUAGE sql RETURN $1")
    [(taken,)] = admin.rows("SELECT webhook_backlog_import(m) FROM moving AS m WHERE failure IS NOT NULL")
    assert taken
    made = db.value("SELECT id FROM webhook.dead_letters WHERE event_id = 'evt_made'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        admin.run("SELECT webhook_replay(%s)", made)
    other = db.value("SELECT id FROM webhook.dead_letters WHERE webhook = 'broken' AND id <> %s", made)
    assert admin.value("SELECT webhook_replay(%s)", other) is not None, "the one that has not been imported"
    assert db.value("SELECT webhook_replay(%s)", made) is not None


REFUSED = {
    "unknown-webhook": ("SET webhook = gen_random_uuid()", "42704", "webhook .* does not exist"),
    "no-payload": ("SET payload = NULL", "22004", "payload must not be null"),
    "no-id": ("SET id = 0", "22023", "id must be between 1 and 9007199254740991"),
    "far-time": ("SET next_attempt_at = '294276-12-31'", "22023", "next_attempt_at must be between 1970 and 2200"),
    "no-time": ("SET created_at = '-infinity'", "22023", "created_at must be between"),
    "attempts": ("SET attempts = -1", "22023", "attempts must be between 0 and 1000000"),
    "two-headers": ("SET event_id = E'a\\r\\nx-other: b'", "22023", "event_id must be 1 to 200 visible ASCII characters"),
    "large": ("SET payload = repeat('x', 1048577)", "54000", "larger than 1048576 bytes"),
    "no-json": ("SET payload = 'hello'", "22P02", "invalid input syntax for type json"),
    "no-webhook": ("SET webhook = NULL", "22004", "webhook must not be null"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_rows_that_are_refused(waiting, what):
    change, code, message = REFUSED[what]
    waiting.run(f"CREATE TABLE moving AS {EXPORT}; UPDATE moving {change}")
    with pytest.raises(psycopg.Error, match=message) as caught:
        waiting.rows(IMPORT)
    assert caught.value.diag.sqlstate == code


@pytest.mark.parametrize("change", ["DROP COLUMN payload", "ALTER COLUMN id TYPE text", "RENAME COLUMN keys TO k"])
def test_rows_of_another_kind_are_refused(waiting, change):
    waiting.run(f"CREATE TABLE moving AS {EXPORT}; ALTER TABLE moving {change}")
    with pytest.raises(psycopg.errors.UndefinedColumn, match="the row has no column") as caught:
        waiting.rows(IMPORT)
    assert "webhook_backlog_export" in caught.value.diag.message_hint


def test_what_is_here_is_not_taken_twice(waiting):
    """Into the database that it comes from, also where the worker has not come to it."""
    waiting.run(f"CREATE TABLE moving AS {EXPORT}")
    assert waiting.rows(IMPORT) == [(False, 4)]


def test_only_an_admin_moves_a_backlog(waiting, people):
    waiting.run(f"CREATE TABLE moving AS {EXPORT}; GRANT SELECT ON moving TO PUBLIC")
    admin = people("adm", level="admin")
    assert len(admin.rows(EXPORT)) == 4 and admin.rows(IMPORT) == [(False, 4)]
    for level in ("member", "viewer", None):
        person = people(f"p{level}".lower(), level=level)
        for statement in (EXPORT, IMPORT):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                person.rows(statement)
        # EXECUTE alone, as ON ALL FUNCTIONS gives it, is not enough.
        waiting.run(f"GRANT EXECUTE ON FUNCTION webhook_backlog_export(), webhook_backlog_import(record) TO {person.role}")
        for statement in (EXPORT, IMPORT):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                person.rows(statement)
        waiting.run(f"GRANT SELECT ON webhook.unfinished TO {person.role}")
        assert person.rows(EXPORT) == []
