"""Conditions, transforms and rows that users bring: what they may do, and as whom."""

import json

import psycopg
import pytest

from harness.checks import hex_hmac

INSERT = "INSERT INTO items VALUES (1, 'a')"


@pytest.fixture
def items(db):
    """A database with a table of an ordinary role's; what is asked of it is asked by that role."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


@pytest.fixture
def ann(items, cluster):
    """Connects as a role without superuser's rights that may call every function and owns a schema."""
    role = f"{items.name}_ann"
    items.judge.run(f"CREATE ROLE {role} LOGIN")
    items.judge.run(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    items.judge.run(f"GRANT USAGE ON SCHEMA webhook TO {role}")
    items.judge.run(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role}")
    with cluster.connect(items.name, user=role) as connection:
        yield connection
    items.judge.run(f"DROP OWNED BY {role} CASCADE")
    items.judge.run(f"DROP ROLE {role}")


def function(connection, body, name="shape"):
    """A plpgsql function from jsonb to jsonb."""
    connection.execute(
        f"CREATE OR REPLACE FUNCTION {name}(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS"
        f" $$ BEGIN {body} END $$"
    )


def create(connection, url, **settings):
    arguments = "".join(f", {name} => %({name})s" for name in settings)
    connection.execute(
        f"SELECT webhook_create('hook', %(url)s, 'own'{arguments})", {"url": url, **settings}
    )


def payloads(db):
    return [json.loads(p) for (p,) in db.judge.rows("SELECT payload FROM webhook.deliveries ORDER BY id")]


def test_a_transform_is_its_owners(items, ann, receiver):
    """Whoever writes, the transform runs as the webhook's owner, on a path that nobody can write to."""
    ann.execute("CREATE TABLE own (id int)")
    function(ann, "RETURN jsonb_build_object('who', current_user, 'path', current_setting('search_path'));")
    create(ann, receiver.url("/"), transform="shape(jsonb)")
    items.judge.run(f"INSERT INTO {items.name}_ann.own VALUES (1)")
    assert payloads(items) == [{"who": f"{items.name}_ann", "path": "pg_catalog, pg_temp"}]


@pytest.mark.parametrize("attack", [
    "EXECUTE 'ALTER ROLE ' || session_user || ' RENAME TO x';",
    "EXECUTE 'ALTER ROLE ' || current_user || ' SUPERUSER';",
    "SET ROLE postgres;",
    "RESET ROLE;",
    "SET SESSION AUTHORIZATION DEFAULT;",
    "PERFORM set_config('role', 'postgres', false);",
    "CREATE TEMP TABLE planted (id int);",
    "EXECUTE 'DELETE FROM public.items';",
    "PERFORM signing_key FROM webhook.secret;",
    "COPY public.items TO PROGRAM 'true';",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1;",
])
def test_a_transform_cannot_act_as_the_writer(items, ann, receiver, attack):
    """A superuser's write meets a member's transform: it has the member's rights, and none besides. Where a webhook says
    so, what it may not do fails the write; otherwise the event alone is lost, to be looked at."""
    ann.execute("CREATE TABLE own (id int)")
    function(ann, f"EXECUTE $x$ {attack.strip().removesuffix(';')} $x$; RETURN payload;"
             if attack.startswith(("SET", "RESET", "CREATE", "COPY", "DECLARE"))
             else f"{attack} RETURN payload;")
    create(ann, receiver.url("/"), transform="shape(jsonb)", on_transform_error="fail")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        items.judge.run(f"INSERT INTO {items.name}_ann.own VALUES (1)")
    assert items.judge.value(f"SELECT count(*) FROM {items.name}_ann.own") == 0
    assert items.judge.value("SELECT current_user || session_user") == "postgrespostgres"
    assert payloads(items) == []
    ann.execute("SELECT webhook_update('hook', on_transform_error => 'dead')")
    items.judge.run(f"INSERT INTO {items.name}_ann.own VALUES (1)")
    assert items.judge.value("SELECT current_user || session_user") == "postgrespostgres"
    assert items.judge.value("SELECT status FROM webhook.deliveries") == "dead"


@pytest.mark.parametrize("part", ["transform", "condition"])
def test_a_preview_by_a_superuser_runs_the_owners_code_as_the_owner(items, ann, receiver, part):
    """Looking at somebody's webhook gives that somebody nothing."""
    ann.execute("CREATE TABLE own (id int)")
    ann.execute(
        "CREATE FUNCTION evil() RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN EXECUTE 'ALTER ROLE ' || current_user || ' SUPERUSER'; RETURN true; END $$"
    )
    if part == "condition":
        create(ann, receiver.url("/"), condition="evil()")
    else:
        function(ann, f"PERFORM {items.name}_ann.evil(); RETURN payload;")
        create(ann, receiver.url("/"), transform="shape(jsonb)")
    reason = items.judge.value("SELECT reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 1}')")
    assert "cannot execute ALTER ROLE" in reason


def test_a_type_of_the_owners_is_rendered_as_the_owner(items, ann, receiver):
    """A cast to json in an invoked row is the owner's code, and gets no other rights."""
    ann.execute("CREATE TABLE own (id int)")
    create(ann, receiver.url("/"))
    ann.execute("CREATE TYPE odd AS ENUM ('a')")
    ann.execute(
        "CREATE FUNCTION as_json(odd) RETURNS json LANGUAGE sql AS $$ SELECT to_json(current_user::text) $$"
    )
    ann.execute("CREATE CAST (odd AS json) WITH FUNCTION as_json(odd)")
    ann.execute("SELECT webhook_invoke('hook', r) FROM (SELECT 'a'::odd AS o) AS r")
    assert payloads(items)[0]["record"]["o"] == f"{items.name}_ann"


def test_a_transform_that_cannot_be_called_any_more(items, ann, receiver):
    """Revoked or dropped by force, it fails the statement where that is asked for, which says what to do."""
    ann.execute("CREATE TABLE own (id int)")
    function(items.judge.connection, "RETURN payload;", "public.shared")
    create(ann, receiver.url("/"), transform="public.shared(jsonb)", on_transform_error="fail")
    items.judge.run("REVOKE EXECUTE ON FUNCTION public.shared FROM PUBLIC")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="shared"):
        ann.execute("INSERT INTO own VALUES (1)")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        items.judge.run("DROP FUNCTION public.shared")
    items.judge.run("DROP FUNCTION public.shared CASCADE")
    with pytest.raises(psycopg.errors.UndefinedFunction, match="transform") as caught:
        ann.execute("INSERT INTO own VALUES (1)")
    assert "transform => '-'" in caught.value.diag.message_hint
    ann.execute("SELECT webhook_update('hook', transform => '-')")
    ann.execute("INSERT INTO own VALUES (1)")
    assert len(payloads(items)) == 1


def test_what_is_not_a_transform_is_refused(items, ann, receiver):
    """Another type, a set, an aggregate, or a function that the caller may not call."""
    ann.execute("CREATE TABLE own (id int)")
    ann.execute("CREATE FUNCTION texts(jsonb) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'")
    ann.execute("CREATE FUNCTION many(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT $1'")
    function(items.judge.connection, "RETURN payload;", "public.hidden")
    items.judge.run("REVOKE EXECUTE ON FUNCTION public.hidden FROM PUBLIC")
    for name, state in [
        ("texts(jsonb)", "42P13"), ("many(jsonb)", "42P13"), ("jsonb_agg(anyelement)", "42P13"),
        ("public.hidden(jsonb)", "42501"),
    ]:
        with pytest.raises(psycopg.Error) as caught:
            create(ann, receiver.url("/"), transform=name)
        assert caught.value.diag.sqlstate == state, name
    assert items.judge.value("SELECT count(*) FROM webhook.webhooks") == 0


def test_an_error_of_a_transform_is_the_statements(items, receiver):
    """Where the webhook says so: nothing is written, and the next row that it can take is."""
    function(items.connection, "RETURN jsonb_build_object('x', 1 / (payload->'record'->>'id')::int);")
    items.create("hook", receiver.url("/"), table_name="items", transform="shape(jsonb)", on_transform_error="fail")
    with pytest.raises(psycopg.errors.DivisionByZero):
        items.run("INSERT INTO items VALUES (0, 'a')")
    items.run(INSERT)
    assert payloads(items) == [{"x": 1}]
    assert items.value("SELECT count(*) FROM items") == 1


def test_a_transform_gives_the_same_bytes_whatever_the_session(items, receiver):
    """A time that it writes does not depend on the writer's settings."""
    function(items.connection, "RETURN jsonb_build_object('t', to_timestamp(0)::text, 'i', interval '1 day 2:00'::text);")
    items.create("hook", receiver.url("/"), table_name="items", transform="shape(jsonb)")
    items.run("SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'")
    items.run(INSERT)
    assert payloads(items) == [{"t": "1970-01-01 00:00:00+00", "i": "1 day 02:00:00"}]


def test_payload_columns_need_only_their_own_rights(items, ann, receiver):
    """SELECT on the columns that are sent is enough, and less is not."""
    items.run("CREATE TABLE secrets (id int PRIMARY KEY, pin text); GRANT TRIGGER, SELECT (id) ON secrets TO PUBLIC")
    statement = "SELECT webhook_create('hook', %s, 'public.secrets', payload_columns => %s)"
    for columns in (["pin"], ["id", "pin"], None):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ann.execute(statement, [receiver.url("/"), columns])
    ann.execute(statement, [receiver.url("/"), ["id"]])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ann.execute("SELECT webhook_update('hook', payload_columns => '{}')")
    items.run("INSERT INTO secrets VALUES (1, 'confidential')")
    assert payloads(items)[0]["record"] == {"id": 1}


def test_what_is_not_to_be_sent_is_not_sent_for_size_either(items, receiver):
    """A row that is too large is cut to its key, as far as that may be sent."""
    items.create("hook", receiver.url("/"), table_name="items", payload_columns=["note"])
    items.judge.run("SET pg_webhook.max_payload_bytes = 1024")
    items.judge.run("INSERT INTO items VALUES (1, repeat('x', 5000))")
    [body] = payloads(items)
    assert (body["record"], body["truncated"]) == ({}, True)


def test_payload_columns_on_a_partition(items, receiver):
    """Columns are meant by name, wherever a partition keeps them."""
    items.run("CREATE TABLE parted (id int, note text, extra int) PARTITION BY LIST (id)")
    items.run("CREATE TABLE part (extra int, gone int, note text, id int)")
    items.run("ALTER TABLE part DROP COLUMN gone; ALTER TABLE parted ATTACH PARTITION part FOR VALUES IN (1)")
    items.create("hook", receiver.url("/"), table_name="parted", payload_columns=["note", "id"])
    items.run("INSERT INTO parted VALUES (1, 'a', 7)")
    assert payloads(items)[0]["record"] == {"note": "a", "id": 1}


def test_members_do_not_hear_each_others_events(items, ann, receiver, make_receiver, cluster):
    """An emitted event goes to the emitter's own webhooks, and to those that name it."""
    other = make_receiver()
    items.create("mine", receiver.url("/"), events=["*"])
    ann.execute("SELECT webhook_create('anns', %s, events => '{order.*}')", [other.url("/")])
    bob = f"{items.name}_bob"
    items.judge.run(f"CREATE ROLE {bob} LOGIN; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {bob}")
    items.run("SELECT webhook_update('mine', emitters => %s)", [bob, f"{items.name}_ann"])
    with cluster.connect(items.name, user=bob) as connection:
        emit = "SELECT webhook_emit('order.shipped', '{\"n\": 1}')"
        assert connection.execute(emit).fetchone() == (1,)
    assert ann.execute(emit).fetchone() == (2,)
    receiver.wait(2)
    assert len(other.wait(1)) == 1
    items.judge.run(f"DROP OWNED BY {bob}; DROP ROLE {bob}")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_who_hears_is_asked_of_the_present(db, people, level):
    """An old snapshot shows webhooks that hear the emitter no longer, and not those that do by now."""
    app, group, named = people("app", "member"), people("grp", "member"), people("own", "member")
    db.run(f"GRANT {group.role} TO {app.role}")
    url, emit = "http://127.0.0.1:9/", "SELECT webhook_emit('a.b', '1')"
    group.run("SELECT webhook_create('groups', %s, events => '{a.b}')", url)
    named.run("SELECT webhook_create('names', %s, events => '{a.b}', emitters => %s)", url, [app.role])
    app.run(f"BEGIN ISOLATION LEVEL {level}")
    assert app.value(emit) == 2
    db.run(f"REVOKE {group.role} FROM {app.role}")
    assert app.value(emit) == 1
    named.run("SELECT webhook_update('names', emitters => '{}')")
    assert app.value(emit) == 0
    named.run("SELECT webhook_update('names', emitters => %s)", [app.role])
    named.run("SELECT webhook_create('more', %s, events => '{a.b}', emitters => %s)", url, [app.role])
    assert app.value(emit) == 2
    # What it has done itself counts as well.
    app.run("SELECT webhook_create('own', %s, events => '{a.b}')", url)
    assert app.value(emit) == 3
    app.run("ROLLBACK")


def test_json_keeps_its_digits(items, receiver):
    """Numbers of any length go through as they were given."""
    long = "1" * 50 + "." + "2" * 50
    items.create("hook", receiver.url("/"), events=["a.b"])
    items.run(f"SELECT webhook_emit('a.b', '{{\"n\": {long}}}')")
    items.run(f"SELECT webhook_test('hook', '{{\"n\": {long}}}')")
    assert all(long in request.body.decode() for request in receiver.wait(2))


def test_another_header_and_none(items, receiver):
    """The signature is sent where the webhook says, or not at all."""
    made = items.create(
        "hook", receiver.url("/"), table_name="items", signature="sha256", signature_header="X-My-Signature",
    )
    items.run(INSERT)
    [request] = receiver.wait(1)
    assert request.headers["x-my-signature"] == "sha256=" + hex_hmac(made["secret"], request.body)
    assert "x-webhook-signature" not in request.headers
    items.run("SELECT webhook_update('hook', signature => 'none')")
    items.run("DELETE FROM items")
    assert not any("signature" in name for name in receiver.wait(2)[-1].headers)
    items.run("SELECT webhook_update('hook', format => 'truss', signature_header => '')")
    items.run(INSERT)
    assert "x-truss-signature" in receiver.wait(3)[-1].headers


def test_events_of_both_kinds(items, receiver):
    """`events` is the whole list: operations of the table, and types of emitted events."""
    items.create("hook", receiver.url("/"), table_name="items", events=["INSERT", "a.*"])
    assert items.value("SELECT webhook_emit('a.b', '1')") == 1
    items.run("SELECT webhook_update('hook', events => '{DELETE}')")
    assert items.value("SELECT webhook_emit('a.b', '1')") == 0
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="at least one operation"):
        items.run("SELECT webhook_update('hook', events => '{a.b}')")
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        items.run("SELECT webhook_watch('hook', 'items', '{a.b}')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="needs a table_name"):
        items.create("other", receiver.url("/"), events=["INSERT"])
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="pattern"):
        items.run("SELECT webhook_emit('a.*', '1')")
    tables = items.value("SELECT tables FROM webhook.webhooks")
    assert tables["public.items"]["events"] == ["DELETE"]


def test_a_preview_of_each_kind(items, receiver):
    """Updates, deletes, TRUNCATE, tests, emitted events, and every reason why nothing would be sent."""
    items.create(
        "hook", receiver.url("/"), table_name="items", events=["UPDATE", "DELETE", "TRUNCATE", "a.*"],
        columns=["note"], payload_columns=["id"],
    )
    items.create("plain", receiver.url("/"))
    items.create("whole", receiver.url("/"), table_name="items", events=["UPDATE"])

    def preview(op, new=None, old=None, webhook="hook"):
        [(body, reason)] = items.rows(
            "SELECT body, reason FROM webhook_preview(%s, %s, %s::jsonb, %s::jsonb)", webhook, op,
            json.dumps(new) if new else None, json.dumps(old) if old else None,
        )
        assert (body is None) == (reason is not None)
        return json.loads(body) if body else reason

    one, two = {"id": 1, "note": "a"}, {"id": 1, "note": "b"}
    body = preview("UPDATE", two, one)
    assert (body["record"], body["old_record"]) == ({"id": 1}, {"id": 1})
    assert "same as the old one" in preview("UPDATE", one, one)
    assert preview("UPDATE", two, one, webhook="whole")["old_record"]["note"] == "a"
    assert "same as the old one" in preview("UPDATE", one, one, webhook="whole")
    assert preview("delete", None, one)["event"] == "DELETE"
    assert preview("TRUNCATE")["record"] is None
    assert preview("TEST", one)["record"] == one
    assert preview("MANUAL", one)["event"] == "MANUAL"
    assert preview("a.b", one)["data"] == one
    assert "not among the events" in preview("INSERT", one)
    assert "not among the events" in preview("b.c", one)
    assert "does not watch" in preview("INSERT", one, webhook="plain")
    items.run("SELECT webhook_update('hook', enabled => false)")
    assert "disabled" in preview("UPDATE", two, one)
    assert receiver.got() == [] and payloads(items) == []


@pytest.mark.parametrize("name, value", [
    ("pg_webhook.context", "[1]"), ("pg_webhook.context", "{"), ("pg_webhook.session_variables", "no"),
])
def test_session_settings_are_json(items, name, value):
    """What is not JSON is refused where it is set, and never reaches a write."""
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        items.run("SELECT set_config(%s, %s, false)", name, value)


def test_truncate_of_several_tables_and_partitions(items, receiver):
    """One event for each watched table that is emptied, whatever it holds."""
    items.run("CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parted DEFAULT")
    items.create("hook", receiver.url("/"), table_name="items", events=["TRUNCATE"])
    items.run("SELECT webhook_watch('hook', 'parted', '{TRUNCATE}')")
    items.run("TRUNCATE items, parted")
    assert sorted(body["table"] for body in payloads(items)) == ["items", "parted"]
    with items.connection.transaction(force_rollback=True):
        items.run("TRUNCATE items")
    assert len(payloads(items)) == 2


def test_an_admin_brings_no_code_to_the_webhooks_of_others(items, ann):
    """What runs with the owner's rights comes from somebody who has them."""
    role = f"{items.name}_ann"
    items.judge.run(f"SELECT webhook_grant('{role}', 'admin')")
    items.run(f"GRANT TRIGGER, SELECT ON items TO {role}")
    ann.execute(f"GRANT USAGE ON SCHEMA {role} TO PUBLIC")
    function(ann, "EXECUTE 'ALTER ROLE ' || session_user || ' SUPERUSER'; RETURN payload;")
    ann.execute("CREATE FUNCTION evil() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    items.create("theirs", "http://127.0.0.1:9/")
    for statement in (
        "SELECT webhook_update('theirs', transform => 'shape(jsonb)')",
        "SELECT webhook_watch('theirs', 'public.items', condition => 'evil()')",
        "SELECT webhook_update('theirs', table_name => 'public.items', condition => 'evil()')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied to set"):
            ann.execute(statement)
    ann.execute("SELECT webhook_watch('theirs', 'public.items', '{INSERT}')")
    ann.execute("SELECT webhook_update('theirs', timeout_seconds => 7)")
    items.run(INSERT)
    assert len(payloads(items)) == 1


def test_a_disabled_webhook_gets_no_row_by_hand(items, receiver):
    """Disabled is disabled, whoever asks; paused keeps it."""
    items.create("hook", receiver.url("/"), enabled=False)
    invoke = "SELECT webhook_invoke('hook', r) FROM (SELECT 1 AS id) AS r"
    assert items.value(invoke) is None
    items.run("SELECT webhook_update('hook', enabled => true), webhook_pause('hook')")
    assert items.value(invoke) is not None
    assert items.value("SELECT pending FROM webhook.webhooks") == 1
    assert receiver.got() == []


#: Conditions that fail for 0, and what the error's CONTEXT says of them.
FAILING = {
    "1 / NEW.id > 0": [],
    "fails(NEW.id)": ["PL/pgSQL function {own}.fails(integer) line 1 at RAISE"],
    # of which PostgreSQL takes the expression
    "divides(NEW.id)": [],
}


@pytest.mark.parametrize("condition", FAILING)
def test_an_error_of_a_condition_names_what_it_calls_and_no_webhook(db, people, receiver, condition):
    """PostgreSQL evaluates it before it calls the trigger, and says where for functions only. Whoever looks for the webhook
    finds the condition in the table's triggers and in a preview."""
    owner, writer = people("own", "member"), people("wri")
    owner.run(f"""
        CREATE TABLE things (id int); GRANT INSERT ON things TO PUBLIC;
        CREATE FUNCTION fails(id int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN IF id = 0 THEN RAISE 'not today'; END IF; RETURN true; END$$;
        CREATE FUNCTION divides(id int) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT 1 / id > 0'""")
    owner.run("SELECT webhook_create('hook', %s, 'things', '{INSERT}', condition => %s)", receiver.url("/"), condition)
    said = [line.format(own=owner.role) for line in FAILING[condition]]

    def context(write):
        with pytest.raises(psycopg.Error, match="division by zero|not today") as caught:
            write()
        return (caught.value.diag.context or "").splitlines()

    table = f"{owner.role}.things"

    def copies():
        with writer.connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            copy.write("0\n")

    assert context(lambda: writer.run(f"INSERT INTO {table} VALUES (0)")) == said
    [*lines, copied] = context(copies)
    assert lines == said and copied.startswith("COPY things, line 1")
    assert context(lambda: writer.run(f"DO $$BEGIN INSERT INTO {table} VALUES (0); END$$")) == [
        *said, f'SQL statement "INSERT INTO {table} VALUES (0)"', "PL/pgSQL function inline_code_block line 1 at SQL statement",
    ]
    [(_, reason)] = owner.rows("SELECT body, reason FROM webhook_preview('hook', 'INSERT', '{\"id\": 0}')")
    assert reason in ("division by zero", "not today")
    called = condition.split("(")[0].split(" >")[0]
    [(definition,)] = writer.rows("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %s::regclass", table)
    assert called.replace("NEW", "new") in definition
    assert owner.value("SELECT count(*) FROM webhook.deliveries") == 0
    assert owner.value("SELECT tables->%s->>'condition' FROM webhook.webhooks", table) == condition
