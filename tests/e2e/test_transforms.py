"""Transforms: whose they may be, what keeps them, what becomes of their errors and of what is too large."""

import concurrent.futures
import json
import subprocess
import time

import psycopg
import pytest

from harness import wait_until
from harness.cluster import BIN
from harness.people import rights
from test_foreign_limits import failure


@pytest.fixture
def owner(people):
    """A member with a table that others write to."""
    person = people("own", "member")
    person.run("CREATE TABLE things (id int PRIMARY KEY, note json); GRANT SELECT, INSERT, UPDATE ON things TO PUBLIC")
    return person


def transform(person, body, name="shape"):
    person.run(
        f"CREATE OR REPLACE FUNCTION {person.role}.{name}(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS"
        f" $$ BEGIN {body} RETURN payload || '{{\"transformed\": true}}'; END $$"
    )


def create(person, url, **settings):
    named = {"name": "hook", "url": url, "table_name": "things", "transform": "shape(jsonb)", **settings}
    casts = {"events": "::text[]", "emitters": "::regrole[]"}
    arguments = ", ".join(f"{key} => %({key})s{casts.get(key, '')}" for key in named if named[key] is not None)
    return person.connection.execute(f"SELECT webhook_create({arguments})", named).fetchone()


def write(person, owner, number=1, note=None):
    person.run(f"INSERT INTO {owner.role}.things VALUES (%s, %s)", number, note)


# --- errors ------------------------------------------------------------------------------------------


ERRORS = {
    "an exception": ("RAISE EXCEPTION 'not today';", None, "not today"),
    "division by zero": ("PERFORM 1 / 0;", None, "division by zero"),
    "a right that is missing": ("PERFORM 1 FROM webhook.secret;", None, "permission denied"),
    "NUL in the row": ("", '"\\u0000"', "unsupported Unicode escape sequence"),
    "half a surrogate": ("", '"\\ud800"', "invalid input syntax for type json"),
    "a number without end": ("", "1e131073", "value overflows numeric format"),
    "too large": ("payload := jsonb_build_object('x', repeat('x', 2000000));", None, "is larger than 1048576 bytes"),
    "much too large": ("payload := jsonb_build_object('x', repeat('x', 200000000));", None, "is larger than 1048576 bytes"),
    "endless recursion": ("RETURN shape(payload);", None, "stack depth limit exceeded"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_a_dead_letter_and_not_the_writers(db, owner, writer, receiver, error):
    """The row is written, nothing is sent, and the log says why. Repaired, the event is sent as it should have been."""
    body, note, message = ERRORS[error]
    transform(owner, body.replace("shape(", f"{owner.role}.shape("))
    create(owner, receiver.url("/"))
    write(writer, owner, 1, note)
    assert owner.value("SELECT count(*) FROM things") == 1
    [(id, event_id, status, attempts, reason, payload)] = owner.rows(
        "SELECT id, event_id, status, attempts, error, payload FROM webhook.deliveries"
    )
    assert (status, attempts) == ("dead", 0) and message in reason and "shape(jsonb)" in reason
    assert '"transformed"' not in payload
    db.wait_for_status(1, "dead")
    wait_until(lambda: owner.rows("SELECT error_class FROM webhook.attempts"), "the log")
    assert owner.rows("SELECT status_code, error_class FROM webhook.attempts") == [(0, "internal")]
    assert owner.rows("SELECT id, status, error FROM webhook.dead_letters") == [(id, "dead", reason)]
    assert owner.rows("SELECT health, fail_count, pending FROM webhook.webhooks") == [("failing", 0, 0)]
    assert owner.rows("SELECT failed, pending FROM webhook.stats") == [(1, 0)]

    with pytest.raises(psycopg.Error) as caught:
        owner.run("SELECT webhook_replay(%s)", id)
    if note is None:
        assert caught.value.diag.context.splitlines()[0].endswith('.shape(jsonb) of webhook "hook"')
    assert owner.value("SELECT count(*) FROM webhook.dead_letters") == 1
    owner.run(
        "CREATE OR REPLACE FUNCTION shape(payload jsonb) RETURNS jsonb LANGUAGE sql AS"
        " $$ SELECT jsonb_build_object('fine', true) $$"
    )
    if note is not None:
        owner.run("SELECT webhook_update('hook', transform => '-')")
    new = owner.value("SELECT webhook_replay(%s)", id)
    [request] = receiver.wait(1)
    sent = json.loads(request.body.replace(b"\\u0000", b"").replace(b"\\ud800", b""))
    assert sent == {"fine": True} or note is not None
    assert request.headers["webhook-id"] == event_id and new != id
    db.wait_for_status(1, "delivered")
    assert owner.rows("SELECT count(*) FROM webhook.dead_letters") == [(0,)]
    assert len(receiver.got()) == 1


@pytest.mark.parametrize("error", ["division by zero", "too large", "NUL in the row"])
def test_an_error_can_be_the_statements(db, owner, writer, receiver, error):
    """Nothing is written then, and the context names the webhook and the function."""
    body, note, message = ERRORS[error]
    transform(owner, body)
    create(owner, receiver.url("/"), on_transform_error="fail")
    with pytest.raises(psycopg.Error, match=message) as caught:
        write(writer, owner, 1, note)
    assert caught.value.diag.context.splitlines()[0] == f'transform {owner.role}.shape(jsonb) of webhook "hook"'
    # inside of a function, its own context comes after
    owner.run("CREATE PROCEDURE add() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO things VALUES (7, %s); END $$" % (f"'{note}'" if note else "NULL"))
    with pytest.raises(psycopg.Error, match=message) as caught:
        owner.run("CALL add()")
    lines = caught.value.diag.context.splitlines()
    assert lines[0].endswith('of webhook "hook"') and "add()" in lines[-1]
    # and an exception block takes it back like any error
    owner.run(
        "DO $$ BEGIN INSERT INTO things VALUES (8, NULL); EXCEPTION WHEN OTHERS THEN NULL; END $$" if note is None else "SELECT 1"
    )
    owner.run("RESET ALL")
    assert owner.value("SELECT count(*) FROM things") == 0
    assert owner.value("SELECT count(*) FROM webhook.deliveries") == 0
    owner.run("SELECT webhook_update('hook', on_transform_error => 'dead')")
    write(writer, owner, 1, note)
    assert owner.value("SELECT status FROM webhook.deliveries") == "dead"
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        owner.run("SELECT webhook_update('hook', on_transform_error => 'ignore')")


def test_what_ends_the_statement_ends_it(db, owner, writer, receiver):
    """A time limit, a cancel or an end of the session inside of a transform is none of its errors."""
    transform(owner, "BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN OTHERS THEN RETURN NULL; END;")
    create(owner, receiver.url("/"))
    writer.run("SET statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        write(writer, owner)
    writer.run("RESET statement_timeout")
    assert owner.value("SELECT count(*) FROM webhook.deliveries") == 0
    transform(owner, "")
    write(writer, owner)
    assert owner.value("SELECT count(*) FROM webhook.deliveries") == 1


def test_a_failure_is_undone_and_what_came_before_is_kept(db, owner, writer, receiver):
    """What a transform has written before it failed is not there; another webhook's event is."""
    owner.run("CREATE TABLE seen (id int)")
    transform(owner, f"INSERT INTO {owner.role}.seen VALUES (1); IF payload->'record'->>'id' = '2' THEN RAISE 'no'; END IF;")
    create(owner, receiver.url("/"))
    create(owner, receiver.url("/"), name="plain", transform=None)
    for number in (1, 2, 3):
        write(writer, owner, number)
    assert owner.value("SELECT count(*) FROM seen") == 2
    assert owner.rows("SELECT webhook, status, count(*) FROM webhook.deliveries WHERE status = 'dead' GROUP BY 1, 2") == [("hook", "dead", 1)]
    receiver.wait(5)


def test_transforms_that_cause_events(db, owner, receiver):
    """Without end: it ends as an error of the last event, and the write is done."""
    owner.run("CREATE TABLE copies (id int)")
    transform(owner, f"INSERT INTO {owner.role}.copies VALUES (1); RAISE NOTICE 'x';")
    create(owner, receiver.url("/"), table_name="copies", events=["INSERT"])
    owner.run("INSERT INTO copies VALUES (0)")
    statuses = dict(owner.rows("SELECT status = 'dead', count(*) FROM webhook.deliveries GROUP BY 1"))
    assert statuses == {True: 1, False: 16}
    assert "too deeply" in owner.value("SELECT error FROM webhook.dead_letters")


def test_the_text_of_an_error_is_bounded(db, owner, writer, receiver):
    """Whatever the function says."""
    transform(owner, "RAISE EXCEPTION '%', repeat('x', 50000000);")
    create(owner, receiver.url("/"))
    write(writer, owner)
    assert owner.value("SELECT max(length(error)) FROM webhook.deliveries") < 2100


def test_dead_letters_of_a_transform_are_like_any(db, owner, writer, receiver):
    """Cancelled, replayed all at once, in a paused webhook, and of a deleted one."""
    transform(owner, "IF payload->'record'->>'id' > '1' THEN RAISE 'no'; END IF;")
    create(owner, receiver.url("/"))
    owner.run("SELECT webhook_pause('hook')")
    for number in (1, 2, 3, 4):
        write(writer, owner, number)
    status = lambda: dict(owner.rows("SELECT status, count(*) FROM webhook.deliveries GROUP BY 1"))
    assert status() == {"pending": 1, "dead": 3}
    assert owner.rows("SELECT pending FROM webhook.webhooks") == [(1,)]
    assert owner.value("SELECT count(*) FROM webhook.dead_letters") == 3
    first = owner.value("SELECT min(id) FROM webhook.dead_letters")
    assert owner.value("SELECT webhook_cancel(%s)", first) is True
    assert status() == {"pending": 1, "dead": 2, "cancelled": 1}
    notices = []
    owner.connection.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
    job = owner.value("SELECT webhook_replay_all('hook')")
    assert owner.value("SELECT webhook_wait(%s)", job) == 0
    assert notices == [("NOTICE", f"job {job} has left out 2 deliveries")], "the worker calls no transform"
    transform(owner, "IF payload->'record'->>'id' = '4' THEN RETURN NULL; END IF;")
    owner.run("SELECT webhook_replay(id) FROM webhook.dead_letters")
    assert owner.value("SELECT count(*) FROM webhook.dead_letters") == 0
    # one of the two has been dropped by the transform
    assert status() == {"pending": 2, "dead": 2, "cancelled": 1}
    assert owner.job("webhook_replay_all('hook', status => 'cancelled')") == 0
    assert owner.value("SELECT webhook_replay(%s)", first) is not None
    owner.run("SELECT webhook_resume('hook')")
    got = receiver.wait(3)
    assert all(json.loads(request.body)["transformed"] for request in got)
    assert sorted(json.loads(request.body)["record"]["id"] for request in got) == [1, 2, 3]
    transform(owner, "RAISE 'again';")
    write(writer, owner, 9)
    owner.run("SELECT webhook_delete('hook')")
    with pytest.raises(psycopg.errors.UndefinedObject):
        owner.run("SELECT webhook_replay(max(id)) FROM webhook.deliveries")


def test_they_outlive_a_crash_and_a_worker_that_is_off(own_cluster, make_db, receiver):
    """Written while nothing is sent, found after a crash, and never sent."""
    cluster = own_cluster(pg_webhook__enabled="off")
    db = make_db(cluster)
    db.run("CREATE TABLE things (id int PRIMARY KEY)")
    db.run("CREATE FUNCTION shape(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN IF $1->'record'->>'id' = '2' THEN RAISE 'no'; END IF; RETURN $1; END $$")
    db.create("hook", receiver.url("/"), table_name="things", transform="shape(jsonb)")
    db.run("INSERT INTO things VALUES (1), (2), (3)")
    assert db.statuses() == {"pending": 2, "dead": 1}
    cluster.crash()
    cluster.start()
    db.connection = cluster.connect(db.name)
    assert db.statuses() == {"pending": 2, "dead": 1}
    cluster.reload(pg_webhook__enabled="on")
    receiver.wait(2)
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending") == 1, "the dead letter")
    wait_until(lambda: db.statuses() == {"delivered": 2, "dead": 1}, db.statuses)
    cluster.crash()
    cluster.start()
    db.connection = cluster.connect(db.name)
    db.wait_for_worker()
    assert db.statuses() == {"delivered": 2, "dead": 1}
    assert sorted(json.loads(request.body)["record"]["id"] for request in receiver.got()) == [1, 3]


# --- no event ----------------------------------------------------------------------------------------


def test_null_is_no_event_and_nothing_counts_it(db, owner, writer, receiver):
    """Functions of the server that return NULL for an argument that is NULL do that without a word. A preview says it."""
    owner.run(
        "CREATE FUNCTION shape(payload jsonb) RETURNS jsonb LANGUAGE sql AS"
        " $$ SELECT jsonb_set(payload, '{more}', (SELECT to_jsonb(payload->'record'->>'note'))) $$"
    )
    create(owner, receiver.url("/"), events=["INSERT", "order.*"])
    write(writer, owner, 1)
    assert heard(owner) == (0, [])
    assert owner.value("SELECT webhook_invoke('hook', ROW(1))") is None
    for op, row in (("INSERT", '{"id": 1}'), ("MANUAL", '{"id": 1}'), ("order.shipped", "1")):
        preview = "SELECT body, reason FROM webhook_preview('hook', %s, %s::jsonb)"
        assert owner.rows(preview, op, row) == [(None, "the transform drops it")]
    assert owner.value("SELECT count(*) FROM things") == 1
    assert db.value("SELECT count(*) FROM webhook.event") == 0
    assert owner.rows("SELECT delivered, failed, pending FROM webhook.stats") == [(0, 0, 0)]
    assert owner.rows("SELECT health, pending FROM webhook.webhooks") == [("healthy", 0)]
    assert owner.rows("SELECT * FROM webhook_check('hook')") == []
    # What else is written becomes an event, and so does a dropped one with a function that keeps it.
    write(writer, owner, 2, '"a"')
    owner.run(
        "CREATE OR REPLACE FUNCTION shape(payload jsonb) RETURNS jsonb LANGUAGE sql AS"
        " $$ SELECT jsonb_set_lax(payload, '{more}', (SELECT to_jsonb(payload->'record'->>'note'))) $$"
    )
    write(writer, owner, 3)
    assert {json.loads(request.body)["more"] for request in receiver.wait(2)} == {"a", None}


# --- whose, and what keeps it ------------------------------------------------------------------------


def test_a_function_of_somebody_else_is_refused(db, people, owner, receiver):
    """Whoever owns it could put into it what runs as the webhook's owner."""
    dev = people("dev")
    transform(dev, "")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        create(owner, receiver.url("/"), transform=f"{dev.role}.shape(jsonb)")
    assert dev.role in caught.value.diag.message_detail and "superuser" in caught.value.diag.message_hint
    create(owner, receiver.url("/"), transform=None)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        owner.run("SELECT webhook_update('hook', transform => %s)", f"{dev.role}.shape(jsonb)")
    # whoever may grant a role can make anybody a member of it
    db.run(f"GRANT {dev.role} TO {owner.role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        owner.run("SELECT webhook_update('hook', transform => %s)", f"{dev.role}.shape(jsonb)")
    for allowed in (f"ALTER FUNCTION {dev.role}.shape OWNER TO postgres", f"ALTER FUNCTION {dev.role}.shape OWNER TO {owner.role}"):
        db.run(allowed)
        owner.run("SELECT webhook_update('hook', transform => %s)", f"{dev.role}.shape(jsonb)")
    assert owner.value("SELECT transform FROM webhook.webhooks") == f"{dev.role}.shape(jsonb)"


def test_whose_it_is_is_asked_again(db, people, owner, writer, receiver):
    """In a session that has written before: given away, revoked, replaced; a membership in the function's owner is no help."""
    dev = people("dev")
    db.run(f"GRANT CREATE ON SCHEMA {owner.role} TO {dev.role}")
    transform(owner, "")
    create(owner, receiver.url("/"))
    number = iter(range(100))

    def result():
        write(writer, owner, next(number))
        return owner.rows("SELECT status, error FROM webhook.deliveries ORDER BY id DESC LIMIT 1")[0]

    works = lambda: result()[0] != "dead"
    assert works()
    db.run(f"ALTER FUNCTION {owner.role}.shape OWNER TO {dev.role}")
    transform_of_dev = f"CREATE OR REPLACE FUNCTION {owner.role}.shape(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE ROLE x'; END $$"
    dev.run(transform_of_dev)
    status, error = result()
    assert status == "dead" and f"of role {dev.role} cannot run as role {owner.role}" in error
    db.run(f"GRANT {dev.role} TO {owner.role}")
    assert "cannot run as role" in result()[1]
    db.run(f"REVOKE {dev.role} FROM {owner.role}; ALTER FUNCTION {owner.role}.shape OWNER TO {owner.role}")
    transform(owner, "")
    assert works()
    owner.run("REVOKE EXECUTE ON FUNCTION shape FROM PUBLIC, CURRENT_USER")
    assert "permission denied for function" in result()[1]
    owner.run("GRANT EXECUTE ON FUNCTION shape TO CURRENT_USER")
    assert works()
    owner.run("ALTER FUNCTION shape RENAME TO form")
    assert works()
    assert db.value("SELECT transform FROM webhook.webhooks") == f"{owner.role}.form(jsonb)"


def test_it_cannot_be_dropped_without_a_word(db, owner, writer, receiver):
    """PostgreSQL refuses, and names the webhook; with CASCADE the webhook says what is wrong, and writers do not notice."""
    transform(owner, "")
    transform(owner, "", name="other")
    uuid = create(owner, receiver.url("/"))[0] and owner.value("SELECT id FROM webhook.webhooks")
    for statement in ("DROP FUNCTION shape", "DROP FUNCTION shape(jsonb)"):
        with pytest.raises(psycopg.errors.DependentObjectsStillExist) as caught:
            owner.run(statement)
        assert f"webhook.transform_of_{uuid.hex}" in caught.value.diag.message_detail
    owner.run("SELECT webhook_update('hook', transform => 'other(jsonb)')")
    owner.run("DROP FUNCTION shape")
    write(writer, owner, 1)
    owner.run("DROP FUNCTION other CASCADE")
    write(writer, owner, 2)
    assert owner.rows("SELECT status, error FROM webhook.deliveries ORDER BY id DESC LIMIT 1") == [
        ("dead", "the transform of the webhook has been dropped")]
    assert owner.value("SELECT transform FROM webhook.webhooks") is None
    transform(owner, "")
    owner.run("SELECT webhook_update('hook', transform => 'shape(jsonb)')")
    assert owner.value("SELECT count(webhook_replay(id)) FROM webhook.dead_letters") == 1
    receiver.wait(2)
    owner.run("SELECT webhook_delete('hook')")
    owner.run("DROP FUNCTION shape")
    assert db.value("SELECT count(*) FROM pg_type WHERE typname LIKE 'transform_of%'") == 0


# What the owner does, what of it is refused, and what the next event is.
ALTERATIONS = {
    "another default": ("ALTER DOMAIN webhook.{anchor} SET DEFAULT {own}.other(NULL)", None, "other"),
    "a default of two calls": ("ALTER DOMAIN webhook.{anchor} SET DEFAULT {own}.other({own}.shape(NULL))", None, "dead"),
    "no default": ("ALTER DOMAIN webhook.{anchor} DROP DEFAULT", None, "dead"),
    "another name": ("ALTER DOMAIN webhook.{anchor} RENAME TO gone", None, "dead"),
    "dropped": ("DROP DOMAIN webhook.{anchor}", None, "dead"),
    "dropped and made again": ("DROP DOMAIN webhook.{anchor}; CREATE DOMAIN webhook.{anchor} AS text", "CREATE", "dead"),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_its_anchor_in_the_hands_of_its_owner(db, people, owner, writer, receiver, alteration):
    """It is the owner's to change, and says no more than the owner could say anyway."""
    dev = people("dev")
    transform(dev, "")
    transform(owner, "")
    transform(owner, "payload := '{\"other\": 1}';", name="other")
    create(owner, receiver.url("/"))
    write(writer, owner, 1)
    anchor = db.value("SELECT typname FROM pg_type WHERE typname LIKE 'transform_of%%'")
    statements, refused, event = ALTERATIONS[alteration]
    for statement in statements.format(anchor=anchor, own=owner.role).split("; "):
        if refused and statement.startswith(refused):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.run(statement)
        else:
            owner.run(statement)
    write(writer, owner, 2)
    [(status, payload)] = owner.rows("SELECT status, payload FROM webhook.deliveries ORDER BY id DESC LIMIT 1")
    assert (status == "dead") == (event == "dead")
    assert ("other" in json.loads(payload)) == (event == "other")
    owner.run("SELECT webhook_update('hook', transform => 'shape(jsonb)')")
    write(writer, owner, 3)
    assert '"transformed": true' in owner.value("SELECT payload FROM webhook.deliveries ORDER BY id DESC LIMIT 1")


def test_an_anchor_is_nothing_to_others(db, people, owner, writer, receiver):
    """Nobody else can use, alter or keep it, and no role has more rights by it."""
    transform(owner, "")
    before = rights(db)
    create(owner, receiver.url("/"))
    assert rights(db) == before
    anchor = db.value("SELECT 'webhook.' || typname FROM pg_type WHERE typname LIKE 'transform_of%%'")
    db.run(f"GRANT USAGE ON SCHEMA webhook TO {writer.role}")
    for statement in (f"CREATE TABLE {writer.role}.t (x {anchor})", f"ALTER DOMAIN {anchor} DROP DEFAULT", f"DROP DOMAIN {anchor}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            writer.run(statement)
    # its owner keeps it, and the webhook goes all the same
    owner.run(f"CREATE TABLE keeper (x {anchor})")
    owner.run("SELECT webhook_delete('hook')")
    owner.run("DROP TABLE keeper")
    db.run(f"REVOKE USAGE ON SCHEMA webhook FROM {writer.role}")


def test_event_triggers_and_anchors(db, owner, receiver):
    """A log of DDL whose function is not qualified runs for nothing of ours."""
    db.run("CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ddl_log VALUES (tg_tag); END $$")
    transform(owner, "")
    db.run("CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION public.log_ddl()")
    db.run("CREATE EVENT TRIGGER log_drop ON sql_drop EXECUTE FUNCTION public.log_ddl()")
    try:
        create(owner, receiver.url("/"), table_name=None, events=["a.b"])
        owner.run("SELECT webhook_update('hook', transform => '-')")
        owner.run("SELECT webhook_update('hook', transform => 'shape(jsonb)')")
        owner.run("SELECT webhook_delete('hook')")
    finally:
        db.run("DROP EVENT TRIGGER log_ddl; DROP EVENT TRIGGER log_drop")


def test_transforms_in_dumps_and_with_the_extension(db, owner, receiver, cluster, make_db):
    """A dump has the anchor and restores it; a role that owns one cannot be dropped; DROP EXTENSION takes it along."""
    transform(owner, "")
    create(owner, receiver.url("/"), table_name=None, events=["a.b"])
    db.run("CREATE FUNCTION public.plain(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'")
    create(owner, receiver.url("/"), name="superuser's", table_name=None, events=["a.b"], transform="public.plain(jsonb)")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as caught:
        db.run(f"DROP ROLE {owner.role}")
    assert "transform_of" in caught.value.diag.message_detail
    dump = subprocess.run([BIN / "pg_dump", "-d", cluster.dsn(db.name)], capture_output=True, text=True, check=True).stdout
    copy = make_db(cluster, f"{db.name}_copy", extension=False)
    done = subprocess.run([BIN / "psql", "-v", "ON_ERROR_STOP=1", "-q", "-d", cluster.dsn(copy.name)], input=dump, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = "SELECT name, transform FROM webhook.webhooks ORDER BY name"
    expected = [("hook", f"{owner.role}.shape(jsonb)"), ("superuser's", "plain(jsonb)")]
    assert [(n, t.replace("public.", "")) for n, t in copy.rows(names)] == expected
    with cluster.connect(copy.name, user=owner.role) as session:
        session.execute("SELECT webhook_update('hook', transform => 'public.plain(jsonb)')")
    copy.run("SELECT webhook_arm()")
    copy.run("DROP EXTENSION pg_webhook")
    assert copy.value("SELECT count(*) FROM pg_type WHERE typname LIKE '%%transform_of%%'") == 0
    copy.close()
    with cluster.connect() as admin:
        admin.execute(f"DROP DATABASE {copy.name} WITH (FORCE)")
    db.run("DROP EXTENSION pg_webhook")
    assert db.value("SELECT count(*) FROM pg_type WHERE typname LIKE '%%transform_of%%'") == 0
    owner.run("DROP FUNCTION shape")


def test_reassigned_and_dropped_owned(db, people, owner, writer, receiver):
    """Webhook, anchor and function go together; of somebody else than the webhook's owner an anchor says nothing."""
    dev = people("dev")
    transform(owner, "payload := payload || jsonb_build_object('who', current_user);")
    receiver.hold()
    create(owner, receiver.url("/"))
    db.run(f"REASSIGN OWNED BY {owner.role} TO {dev.role}")
    write(writer, owner, 1)
    assert db.value("SELECT payload::jsonb ->> 'who' FROM webhook.deliveries") == dev.role
    [anchor] = db.rows("SELECT typname FROM pg_type WHERE typname LIKE 'transform_of%'")[0]
    db.run(f"ALTER DOMAIN webhook.{anchor} OWNER TO {owner.role}")
    write(writer, owner, 2)
    db.run(f"ALTER DOMAIN webhook.{anchor} OWNER TO {dev.role}")
    write(writer, owner, 3)
    gone = ("dead", "the transform of the webhook has been dropped")
    assert db.rows("SELECT status, error FROM webhook.deliveries ORDER BY id")[1:] == [gone, ("pending", None)]


# --- size --------------------------------------------------------------------------------------------


def test_what_the_session_adds_counts(db, owner, writer, receiver):
    """A context that is too large cuts the row, and then goes itself; so do session variables."""
    create(owner, receiver.url("/"), transform=None)
    create(owner, receiver.url("/"), name="hasura", transform=None, format="hasura")
    db.run("ALTER DATABASE %s SET pg_webhook.max_payload_bytes = 4096" % db.name)
    with writer.connection.transaction():
        writer.run("SELECT set_config('pg_webhook.context', %s, false)", json.dumps({"a": "x" * 20_000_000}))
        writer.run("SELECT set_config('pg_webhook.session_variables', %s, false)", json.dumps({"b": "y" * 20_000_000}))
        write(writer, owner, 1, '"note"')
    sizes = db.rows("SELECT webhook, octet_length(payload), payload::jsonb FROM webhook.deliveries ORDER BY webhook")
    assert [size < 4096 for _, size, _ in sizes] == [True, True]
    hasura, default = sizes[0][2], sizes[1][2]
    assert default["record"] == {"id": 1} and default["truncated"] and "context" not in default
    assert hasura["event"]["session_variables"] is None
    # a context that fits beside the keys stays
    writer.run("SELECT set_config('pg_webhook.context', %s, false)", json.dumps({"a": "x" * 1000}))
    writer.run("RESET pg_webhook.session_variables")
    write(writer, owner, 2, json.dumps("n" * 1_200_000))
    default = db.value("SELECT payload::jsonb FROM webhook.deliveries WHERE webhook = 'hook' ORDER BY id DESC LIMIT 1")
    assert default["record"] == {"id": 2} and default["context"] == {"a": "x" * 1000}


def test_limits_of_emitted_and_invoked_events(db, owner, receiver):
    """They are refused where they are too large; what a transform makes of them is a dead letter."""
    create(owner, receiver.url("/"), table_name=None, events=["a.*"], transform=None)
    large = "SELECT webhook_emit('a.b', jsonb_build_object('x', repeat('x', 2000000)))"
    for statement in (large, "SELECT webhook_invoke('hook', r) FROM (SELECT repeat('x', 2000000) AS x) AS r",
                      "SELECT webhook_test('hook', jsonb_build_object('x', repeat('x', 2000000)))"):
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            owner.run(statement)
    assert "larger than" in owner.value("SELECT reason FROM webhook_preview('hook', 'a.b', jsonb_build_object('x', repeat('x', 2000000)))")
    transform(owner, "payload := jsonb_build_object('x', repeat('x', 50000000));")
    owner.run("SELECT webhook_update('hook', transform => 'shape(jsonb)')")
    assert owner.value("SELECT webhook_emit('a.b', '1')") == 1
    assert owner.value("SELECT webhook_invoke('hook', r) FROM (SELECT 1 AS x) AS r") is not None
    assert owner.rows("SELECT DISTINCT status, octet_length(payload) < 1000 FROM webhook.deliveries") == [("dead", True)]
    assert "larger than" in owner.value("SELECT reason FROM webhook_preview('hook', 'a.b', '1')")


# --- emit --------------------------------------------------------------------------------------------


def heard(person, type="order.shipped"):
    """Who hears an event of a role, and what it is told."""
    notices = []
    handler = lambda notice: notices.append(notice.message_primary)
    person.connection.add_notice_handler(handler)
    count = person.value("SELECT webhook_emit(%s, '1')", type)
    person.connection.remove_notice_handler(handler)
    return count, notices


def test_an_event_reaches_roles_that_belong_together(db, people, cluster, receiver):
    """Real memberships, for a superuser too; strangers hear nothing, and the emitter learns of it. Members of the emitter
    hear nothing either: they have not asked for what it says."""
    group = people("grp", "member", attributes="NOLOGIN")
    app, migration = people("app", member_of=[group]), people("mig", member_of=[group])
    stranger = people("str", "member")
    hook = "SELECT webhook_create(%s, %s, events => '{order.*}')"
    db.run(f"SET ROLE {group.role}")
    db.run(hook, "groups", receiver.url("/"))
    db.run("RESET ROLE")
    stranger.run(hook, "strangers", receiver.url("/"))
    db.run(hook, "supers", receiver.url("/"))
    assert heard(app) == heard(migration) == (1, [])
    assert heard(stranger) == (1, [])
    migration.run(hook, "migrations", receiver.url("/"))
    assert heard(app) == (1, []), "two members of one group are strangers"
    assert heard(migration) == (2, [])
    db.run(f"SET ROLE {group.role}")
    assert db.value("SELECT webhook_emit('order.shipped', '1')") == 1
    db.run("RESET ROLE")
    assert db.value("SELECT webhook_emit('order.shipped', '1')") == 1, "a superuser's own"
    count, [notice] = heard(app, "order_shipped")
    assert count == 0 and "order_shipped" in notice
    db.run(f"GRANT {stranger.role} TO postgres")
    assert db.value("SELECT webhook_emit('order.shipped', '1')") == 2
    db.run(f"REVOKE {stranger.role} FROM postgres")
    # a disabled one could hear it
    stranger.run("SELECT webhook_update('strangers', enabled => false)")
    assert heard(stranger) == (0, [])


def test_named_emitters(db, people, receiver):
    """A role that is named may emit and is heard, as long as some webhook names it."""
    owner, other, app = people("own", "member"), people("oth", "member"), people("app")
    admin = people("adm", "admin")
    emit = "SELECT webhook_emit('order.shipped', '1')"
    before = rights(db)
    create(owner, receiver.url("/"), table_name=None, transform=None, events=["order.*"])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.run(emit)
    owner.run("SELECT webhook_update('hook', emitters => %s)", [app.role])
    other.run("SELECT webhook_create('other', %s, events => '{order.*}', emitters => %s)", receiver.url("/"), [app.role])
    assert heard(app) == (2, [])
    assert owner.value("SELECT emitters FROM webhook.webhooks") == [app.role]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="emitters"):
        admin.run("SELECT webhook_update('hook', emitters => %s)", [admin.role])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.run("SELECT * FROM webhook.webhooks")
    owner.run("SELECT webhook_update('hook', emitters => '{}')")
    assert heard(app) == (1, [])
    other.run("SELECT webhook_delete('other')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.run(emit)
    owner.run("SELECT webhook_delete('hook')")
    assert rights(db) == before
    with pytest.raises(psycopg.errors.UndefinedObject):
        create(owner, receiver.url("/"), table_name=None, transform=None, events=["a.b"], emitters=["-"])


@pytest.mark.parametrize("does", ["RAISE EXCEPTION 'no emits today'", "payload := to_jsonb(current_query())"])
def test_whoever_is_named_has_asked_for_nothing(db, people, receiver, does):
    """No transform runs in its session, where it could take its time, fail, and read what it was not told."""
    owner, app, admin = people("own", "member"), people("app"), people("adm", "admin")
    transform(owner, f"{does};")
    settings = {"table_name": None, "events": ["order.*"], "on_transform_error": "fail"}
    create(owner, receiver.url("/"), emitters=[app.role, admin.role, "postgres"], **settings)
    why = "the transform does not run in a session of role {}, whose rights the webhook's owner does not have"
    for emitter, name in ((app, app.role), (admin, admin.role), (db, "postgres")):
        assert heard(emitter) == (1, [])
        assert failure(db) == why.format(name)
        db.run("SELECT webhook_cancel(id) FROM webhook.dead_letters")
    db.run(f"GRANT {app.role} TO {owner.role}")
    if does.startswith("RAISE"):
        with pytest.raises(psycopg.errors.RaiseException, match="no emits today"):
            heard(app)
    else:
        assert heard(app) == (1, [])
        assert "webhook_emit" in db.value("SELECT payload FROM webhook.deliveries ORDER BY id DESC LIMIT 1")
    db.run(f"REVOKE {app.role} FROM {owner.role}")
    assert heard(app) == (1, []) and failure(db) == why.format(app.role)


def test_a_member_of_the_owner_does_not_fail_by_its_transform(db, people, receiver):
    """Whoever may grant that role can make anybody a member of it."""
    group = people("grp", "member")
    app = people("app", member_of=[group])
    transform(group, "RAISE EXCEPTION 'no emits today';")
    create(group, receiver.url("/"), table_name=None, events=["order.*"], on_transform_error="fail")
    assert heard(app) == (1, [])
    assert "no emits today" in failure(db)
    with pytest.raises(psycopg.errors.RaiseException, match="no emits today"):
        heard(group)


def test_what_somebody_else_has_granted_stays(db, people, receiver):
    """A member names a role and names it no more; what an administrator had granted to that is not the member's to take."""
    owner, app, viewer = people("own", "member"), people("app"), people("vie", "viewer")
    for person in (app, viewer):
        db.run(f"GRANT EXECUTE ON FUNCTION webhook_emit TO {person.role}")
    before = rights(db)
    emitters = [app.role, viewer.role]
    create(owner, receiver.url("/"), table_name=None, transform=None, events=["order.*"], emitters=emitters)
    owner.run("SELECT webhook_update('hook', emitters => '{}')")
    assert heard(app)[0] == heard(viewer)[0] == 0
    owner.run("SELECT webhook_update('hook', emitters => %s)", emitters)
    owner.run("SELECT webhook_delete('hook')")
    assert heard(app)[0] == heard(viewer)[0] == 0
    assert rights(db) == before


def test_emitters_and_levels(db, people, receiver):
    """Either gives the right, and it stays as long as one of them does."""
    owner, app = people("own", "member"), people("app")
    create(owner, receiver.url("/"), table_name=None, transform=None, events=["order.*"], emitters=[app.role])
    before = rights(db)
    for level in ("viewer", "member", "admin"):
        db.run("SELECT webhook_grant(%s, %s)", app.role, level)
        assert heard(app) == (1, [])
        db.run("SELECT webhook_revoke(%s, %s)", app.role, level)
        assert heard(app) == (1, [])
        assert rights(db) == before
    db.run("SELECT webhook_grant(%s, 'member')", app.role)
    owner.run("SELECT webhook_update('hook', emitters => '{}')")
    assert app.value("SELECT webhook_emit('order.shipped', '1')") == 0
    db.run("SELECT webhook_revoke(%s, 'member')", app.role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.run("SELECT webhook_emit('order.shipped', '1')")


def test_an_emitter_gets_to_the_function(cluster, people, make_db, receiver):
    """Also where the extension has a schema of its own; that right goes as well, unless a level needs it."""
    db = make_db(cluster, extension=False)
    db.run("CREATE SCHEMA hooks; CREATE EXTENSION pg_webhook SCHEMA hooks")
    app = f"{db.name}_app"
    db.run(f"CREATE ROLE {app} LOGIN")
    usage = f"SELECT has_schema_privilege('{app}', 'hooks', 'USAGE')"
    with cluster.connect(db.name, user=app) as session:
        db.run("SELECT hooks.webhook_create('hook', 'http://127.0.0.1:9/', events => '{a.b}', emitters => %s)", [app])
        assert session.execute("SELECT hooks.webhook_emit('a.b', '1')").fetchone() == (1,)
        db.run("SELECT hooks.webhook_update('hook', emitters => '{}')")
        assert db.value(usage) is False
        db.run("SELECT hooks.webhook_update('hook', emitters => %s)", [app])
        db.run("SELECT hooks.webhook_grant(%s, 'viewer')", app)
        db.run("SELECT hooks.webhook_update('hook', emitters => '{}')")
        assert db.value(usage) is True
        db.run("SELECT hooks.webhook_revoke(%s, 'viewer')", app)
        assert db.value(usage) is False
    db.close()
    with cluster.connect() as admin:
        admin.execute(f"DROP DATABASE {db.name} WITH (FORCE)")
        admin.execute(f"DROP ROLE {app}")


# --- beside others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("call", ["emit", "invoke", "replay"])
def test_an_old_snapshot_and_another_transform(db, owner, cluster, receiver, level, call):
    """The function that is there now is called, although the transaction sees what it was before."""
    transform(owner, "RAISE 'not now';")
    create(owner, receiver.url("/"), events=["INSERT", "a.b"])
    write(owner, owner)
    dead = owner.value("SELECT id FROM webhook.dead_letters")
    transform(owner, "payload := payload || '{\"other\": 1}';", name="other")
    statement = {
        "emit": "SELECT webhook_emit('a.b', '1')",
        "invoke": "SELECT webhook_invoke('hook', ROW(1))",
        "replay": f"SELECT webhook_replay({dead})",
    }[call]
    with cluster.connect(db.name, user=owner.role) as early:
        with early.transaction():
            early.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            early.execute("SELECT 1")
            owner.run("SELECT webhook_update('hook', transform => %s)", f"{owner.role}.other(jsonb)")
            early.execute(statement)
    assert json.loads(owner.value("SELECT payload FROM webhook.deliveries ORDER BY id DESC LIMIT 1"))["other"] == 1


@pytest.mark.parametrize("call", ["INSERT INTO {own}.things VALUES (1, NULL)", "SELECT webhook_invoke('hook', ROW(1))"])
@pytest.mark.parametrize("change", ["given away", "made since"])
def test_an_old_snapshot_and_a_function_that_is_another_one_now(db, people, owner, cluster, receiver, change, call):
    """Whether it may be called is asked of the function as it is, not as the writer's transaction sees it."""
    dev = people("dev")
    transform(owner, "")
    create(owner, receiver.url("/"), events=["INSERT"])
    with cluster.connect(db.name, user=owner.role) as early:
        with early.transaction():
            early.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            early.execute("SELECT 1")
            if change == "given away":
                db.run(f"ALTER FUNCTION {owner.role}.shape(jsonb) OWNER TO {dev.role}")
            else:
                transform(owner, "payload := payload || '{\"other\": 1}';", name="other")
                owner.run("SELECT webhook_update('hook', transform => %s)", f"{owner.role}.other(jsonb)")
            early.execute(call.format(own=owner.role))
    status, error, payload = owner.rows("SELECT status, error, payload FROM webhook.deliveries")[0]
    if change == "given away":
        assert status == "dead" and f"of role {dev.role} cannot run as role {owner.role}" in error
    else:
        assert json.loads(payload)["other"] == 1


def test_a_function_that_only_an_old_snapshot_shows(owner, db, cluster, receiver):
    transform(owner, "")
    oid = owner.value("SELECT 'shape(jsonb)'::regprocedure::oid")
    create(owner, receiver.url("/"), transform=None)
    with cluster.connect(db.name, user=owner.role) as early:
        with early.transaction():
            early.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            early.execute("SELECT 1")
            owner.run("DROP FUNCTION shape(jsonb)")
            with pytest.raises(psycopg.errors.UndefinedFunction):
                early.execute("SELECT webhook_update('hook', transform => %s::oid::regprocedure)", [oid])


@pytest.mark.parametrize("change", ["DROP DOMAIN {anchor}", "ALTER DOMAIN {anchor} DROP DEFAULT", "ALTER DOMAIN {anchor} OWNER TO CURRENT_USER"])
@pytest.mark.parametrize("end", ["stays open", "commits", "rolls back"])
def test_an_open_transaction_with_the_anchor_keeps_nobody(db, people, owner, cluster, receiver, change, end):
    """An admin deletes the webhook all the same, and waits for two seconds at most."""
    admin = people("adm", "admin")
    transform(owner, "")
    create(owner, receiver.url("/"))
    anchor = db.value("SELECT 'webhook.' || typname FROM pg_type WHERE typname LIKE 'transform_of%%'")
    with cluster.connect(db.name, user=owner.role, autocommit=False) as busy, concurrent.futures.ThreadPoolExecutor() as pool:
        busy.execute(change.format(anchor=anchor))
        began = time.monotonic()
        deleted = pool.submit(admin.run, "SELECT webhook_delete('hook')")
        if end != "stays open":
            wait_until(lambda: deleted.done() or db.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "it waits")
            busy.commit() if end == "commits" else busy.rollback()
        deleted.result(10)
        assert time.monotonic() - began < 5
        assert owner.value("SELECT count(*) FROM webhook.webhooks") == 0
        busy.rollback()
