"""Each function with what nobody means to pass: an error with a SQLSTATE or a result, never a crash."""

import json
import threading

import psycopg
import pytest

LONG = "x" * 2**20
CONTROLS = "".join(map(chr, range(1, 32))) + "\x7f\u0085\u202e\ufeff\U0001f4a9"
TEXTS = ["", " ", LONG, CONTROLS, "'; DROP TABLE items; --", '"', "\\", "%s%n{}", "é" * 2**19, "-", "*", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]
DEEP = "[" * 6000 + "]" * 6000

# What each type is tried with, beside NULL.
VALUES = {
    "text": TEXTS,
    "text[]": [[], [""], [None], ["INSERT", None], [LONG], [CONTROLS], TEXTS, ["id"] * 5000, "{{INSERT,UPDATE},{DELETE,INSERT}}", "[5:6]={INSERT,UPDATE}"],
    "jsonb": ["{}", "[]", "null", "1e400", '""', json.dumps(LONG), json.dumps({LONG: LONG}), json.dumps({CONTROLS: CONTROLS}), json.dumps({"a": None}), json.dumps({"a": {"b": 1}}), json.dumps({str(i): i for i in range(20000)}), DEEP],
    "jsonpath": ["$", "", "strict $.a.b", '$.a ? (@ == $none)', "$.**", "$[*] ? (", '$ like_regex "("', json.dumps(LONG)],
    "boolean": [True, False],
    "integer": [0, -1, 1, 2**31 - 1, -(2**31)],
    "bigint": [0, -1, 1, 2**63 - 1, -(2**63)],
    "bigint[]": ["{}", "{NULL}", "{1,-1,9223372036854775807}", [1] * 5000, "{{1,2},{3,4}}", "[5:6]={1,2}"],
    "double precision": [0.0, -1.0, 0.5, 1e300, "NaN", "Infinity", "-Infinity"],
    "interval": ["0", "-1 s", "1 us", "178000000 years", "-178000000 years", "1 mon -30 days"],
    "timestamp with time zone": ["infinity", "-infinity", "294276-12-31 UTC", "4714-11-24 00:00+00 BC", "epoch"],
    "oid": ["0", "1", "4294967295", "2249"],
    "regclass": ["0", "1", "4294967295", "pg_class", "pg_toast.pg_toast_1255", "webhook.webhooks", "webhook.event", "items", "items_pkey"],
    "regprocedure": ["0", "1", "4294967295", "pg_catalog.now()", "pg_catalog.to_jsonb(anyelement)", "webhook.capture()", "pg_catalog.boolin(cstring)"],
    "regrole": ["0", "1", "4294967295", "-", "pg_monitor", "postgres"],
    "regrole[]": ["{}", "{-}", "{0}", "{1}", "{4294967295}", "{NULL}", "{postgres,pg_monitor,postgres}", "{{postgres},{pg_monitor}}", "[5:6]={pg_monitor,postgres}"],
    "uuid": ["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
    "bytea": [b"", b"\x00\xff" * 2**19],
    "record": ["ROW()", "ROW(NULL)", "ROW(1, 'x', ROW(2))", f"ROW(repeat('x', {2**20}))", "(SELECT i FROM items AS i LIMIT 1)"],
}
VALUES["anyelement"] = VALUES["record"] + ["1", "'x'::text", "NULL::items", "ARRAY[1]"]
EXPRESSIONS = {"record", "anyelement"}

# What a call is otherwise like, by the name of the argument. What is not here has a default or is NULL.
ORDINARY = {
    "webhook": "'hook'", "name": "'another'", "table_name": "'items'", "delivery_id": "(SELECT min(id) FROM webhook.deliveries)",
    "role": "'pg_monitor'", "level": "'viewer'", "op": "'INSERT'", "event_type": "'order.shipped'", "data": "'{}'",
    "events": "'{INSERT}'", "payload": "'{}'", "secret": "'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'",
}

FUNCTIONS = """
    SELECT n.nspname || '.' || p.proname, coalesce(p.proargnames[:p.pronargs], '{}'),
           ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) AS t), p.pronargs - p.pronargdefaults
    FROM pg_proc AS p
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
    JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
    ORDER BY 1
"""


@pytest.fixture
def ready(db, receiver):
    """A webhook with a delivery."""
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items VALUES (1, 'x')")
    db.wait_for_status(1)
    ORDINARY["url"] = f"'{receiver.url('/')}'"
    return db


def call(connection, function, arguments, value=None):
    """One call, undone; returns the error, if there is one."""
    named = ", ".join(f"{name} => {expression}" for name, expression in arguments.items())
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL statement_timeout = '20s'")
            connection.execute(f"SELECT * FROM {function}({named})", None if value is None else [value])
    except psycopg.Error as error:
        return error
    return None


def check(error, what):
    """An error is one that its caller can make something of."""
    if error is None:
        return
    state = error.diag.sqlstate
    assert state and state[:2] not in ("XX", "57", "08"), f"{what}: {state} {str(error)[:500]}"
    for text in (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint):
        # PostgreSQL's own input functions repeat what they were given.
        assert len(text or "") < 4000, f"{what}: {len(text)} characters"


def alive(db, worker):
    assert db.value("SELECT 1") == 1
    assert db.worker() == worker
    assert db.cluster.log_lines(r"PANIC|segmentation|signal \d+|server process .* was terminated|XX000|panicked") == []


def test_every_argument(ready):
    """One argument at a time; and all of them NULL."""
    worker, functions, calls = ready.worker(), ready.rows(FUNCTIONS), 0
    assert len(functions) >= 17
    for function, names, types, required in functions:
        needed = {name: ORDINARY.get(name, "NULL") for name in names[:required]}
        assert len(names) == len(types), function
        check(call(ready.connection, function, {}), f"{function}()")
        check(call(ready.connection, function, {n: "NULL" for n in names}), f"{function}(all NULL)")
        for name, type in zip(names, types):
            check(call(ready.connection, function, {**needed, name: f"NULL::{type}" if type not in EXPRESSIONS else "NULL"}), f"{function}({name} => NULL)")
            for value in VALUES[type]:
                if type in EXPRESSIONS:
                    error = call(ready.connection, function, {**needed, name: value})
                else:
                    error = call(ready.connection, function, {**needed, name: f"%s::{type}"}, value)
                check(error, f"{function}({name} => {str(value)[:80]!r})")
                calls += 1
    assert calls > 300
    alive(ready, worker)
    ready.run("INSERT INTO items VALUES (2, 'y')")
    ready.wait_for_status(2)


def test_arguments_together(ready):
    """The same odd value for all arguments of a type at once."""
    worker = ready.worker()
    for function, names, types, _ in ready.rows(FUNCTIONS):
        for number in range(max((len(VALUES[type]) for type in types), default=0)):
            chosen = {name: VALUES[type][number % len(VALUES[type])] for name, type in zip(names, types)}
            named = {
                name: chosen[name] if type in EXPRESSIONS else f"%({name})s::{type}"
                for name, type in zip(names, types)
            }
            check(call_with(ready.connection, function, named, chosen), f"{function}, {number}")
    alive(ready, worker)


def call_with(connection, function, named, values):
    arguments = ", ".join(f"{name} => {expression}" for name, expression in named.items())
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL statement_timeout = '20s'")
            connection.execute(f"SELECT * FROM {function}({arguments})", values)
    except psycopg.Error as error:
        return error
    return None


def test_sessions_with_odd_settings(ready, receiver):
    """What a session may set changes nothing that a function of ours says or does."""
    settings = {
        "standard_conforming_strings": "off", "backslash_quote": "off", "quote_all_identifiers": "on",
        "transform_null_equals": "on", "array_nulls": "off", "default_transaction_isolation": "serializable",
        "DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard", "bytea_output": "escape",
        "client_encoding": "LATIN1", "enable_indexscan": "off", "plan_cache_mode": "force_generic_plan",
        "check_function_bodies": "off", "escape_string_warning": "on", "xmloption": "document",
        "extra_float_digits": "-15", "lc_messages": "C", "session_replication_role": "replica",
    }
    after_the_first = ready.value("SELECT (max(created_at) + interval '1 microsecond')::text FROM webhook.deliveries")
    for name, value in settings.items():
        with ready.connect() as session:
            session.execute(f"SET {name} = '{value}'" if name != "DateStyle" else f"SET DateStyle = {value}")
            create = "SELECT webhook_create('odd', %s, 'items', '{INSERT,UPDATE}', columns => '{note}', condition => 'NEW.id > 0')"
            session.execute(create, [receiver.url("/odd")])
            for statement in (
                "SELECT webhook_update('odd', condition => 'NEW.id > 1')", "SELECT webhook_pause('odd')",
                "SELECT webhook_resume('odd')", "SELECT webhook_unwatch('odd', 'items')", "SELECT webhook_watch('odd', 'items')",
                "SELECT webhook_replay(min(id)) FROM webhook.deliveries",
                # The first delivery and no replay: otherwise each session would make twice as many as the one before.
                f"SELECT webhook_replay_all('hook', status => 'delivered', until => '{after_the_first}')",
                "SELECT webhook_grant('pg_monitor', 'admin')", "SELECT webhook_revoke('pg_monitor', 'admin')",
                "SELECT tables FROM webhook.webhooks", "SELECT webhook_delete('odd')",
            ):
                try:
                    session.execute(statement)
                except psycopg.Error as error:
                    raise AssertionError(f"{name} = {value}: {statement}: {error}") from error
        left = "SELECT count(*) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure"
        assert ready.value(left) == 3, name  # those of "hook"
    alive(ready, ready.worker())


def test_many_at_once(ready, receiver):
    """The same webhooks made, changed and deleted by many sessions: errors have a SQLSTATE of ours."""
    worker, url, wrong = ready.worker(), receiver.url("/"), []
    statements = [
        f"SELECT webhook_create('w{{0}}', '{url}', 'items')", "SELECT webhook_update('w{0}', enabled => false)",
        "SELECT webhook_watch('w{0}', 'items')", "SELECT webhook_unwatch('w{0}', 'items')",
        "SELECT webhook_pause('w{0}')", "SELECT webhook_resume('w{0}')", "SELECT webhook_test('w{0}')",
        "SELECT webhook_replay_all('hook', status => 'delivered') FROM generate_series(1, 1)",
        "SELECT webhook_cancel(max(id)) FROM webhook.deliveries", "SELECT webhook_replay(max(id)) FROM webhook.deliveries",
        "SELECT webhook_grant('pg_monitor', 'viewer')", "SELECT webhook_revoke('pg_monitor', 'viewer')",
        "SELECT webhook_delete('w{0}')", "INSERT INTO items VALUES ({1}, 'x')",
    ]
    replays = {7}  # each doubles what the next one finds

    def work(number):
        with ready.connect() as session:
            for step in range(60):
                index = (number * 7 + step * 5) % len(statements)
                if index in replays and step > 5:
                    continue
                try:
                    session.execute(statements[index].format(step % 3, number * 1000 + step + 10))
                except psycopg.Error as error:
                    if error.diag.sqlstate not in ("42704", "42710", "55P03", "40P01", "55000"):
                        wrong.append((statements[index], error.diag.sqlstate, str(error)))

    threads = [threading.Thread(target=work, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    alive(ready, worker)
