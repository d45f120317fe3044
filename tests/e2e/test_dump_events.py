"""A restored database makes the same events of the same changes as the original."""

import itertools

from harness.dumps import dump, events, restore

# Of each type some values, as its input function takes them; NULL is added.
TYPES = {
    "json": ("json", ["{}", '{"a": 1}', '{"a":1}']),
    "jsonb": ("jsonb", ["{}", '{"a": 1.0}', '{"a": 1}']),
    "text": ("text", ["", "a", "é'\\"]),
    "numeric": ("numeric", ["1", "1.0", "NaN"]),
    "float": ("float8", ["0", "-0", "1e300"]),
    "ints": ("int[]", ["{}", "{1,NULL}", "[0:1]={1,2}"]),
    "texts": ("text[]", ["{}", "{a,NULL}", '{"",null}']),
    "jsons": ("json[]", ["{}", '{"{}"}', '{"{ }"}']),
    "pair": ("pair", ["(,)", "(1,)", "(1,a)"]),
    "holds": ("holds", ['("{}",)', '("{ }","{1}")', "(,)"]),
    "domain": ("positive", ["1", "2", "3"]),
    "domain_json": ("written", ["{}", "{ }", "[]"]),
    "time": ("timestamptz", ["2020-01-01 00:00+00", "2020-01-01 01:00+01", "infinity"]),
}
MAKE_TYPES = """
    CREATE TYPE pair AS (n int, t text); CREATE TYPE holds AS (j json, a int[]);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN written AS json;
"""
CONDITIONS = {
    "INSERT": [None, "NEW.v IS NOT NULL"],
    "UPDATE": [None, "NEW.v::text IS DISTINCT FROM OLD.v::text", "NEW.w <> OLD.w OR NEW.v IS NULL"],
    "DELETE": [None, "OLD.v::text <> ''"],
}
# Where the type has an equality.
WHOLE_ROWS = "OLD.* IS DISTINCT FROM NEW.*"
COLUMNS = [None, ["v"], ["w", "v"]]
PAYLOADS = [None, ["v"]]

# Of the others some combinations of events, condition, columns and payload_columns.
IN_FULL = ("json", "numeric")
SOME = [
    ("INSERT,UPDATE,DELETE", None, ["v"], ["id", "v"]),
    ("INSERT", "NEW.v IS NOT NULL", None, ["v"]),
    ("UPDATE", "NEW.v::text IS DISTINCT FROM OLD.v::text", ["v"], None),
    ("UPDATE", "NEW.w <> OLD.w OR NEW.v IS NULL", ["w", "v"], ["v"]),
    ("DELETE", "OLD.v::text <> ''", None, ["v"]),
]


def combinations(kind):
    yield from SOME
    has_equality = kind not in ("json", "jsons", "holds", "domain_json")
    if has_equality:
        yield "UPDATE", WHOLE_ROWS, ["v"], None
    if kind not in IN_FULL:
        return
    for event, conditions in CONDITIONS.items():
        more = [WHOLE_ROWS] if event == "UPDATE" and has_equality else []
        for condition, columns, payload in itertools.product(conditions + more, COLUMNS, PAYLOADS):
            if columns is None or event == "UPDATE":
                yield event, condition, columns, payload


def literal(value):
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def all_changes():
    for kind, (_, values) in TYPES.items():
        pool = [None, *values]
        for id, (old, new) in enumerate(itertools.product(pool, pool)):
            yield f"INSERT INTO t_{kind} VALUES ({id}, {literal(old)}, 'w')"
            yield f"UPDATE t_{kind} SET v = {literal(new)} WHERE id = {id}"
        yield f"UPDATE t_{kind} SET w = nullif('x', CASE WHEN id % 2 = 0 THEN 'x' END); UPDATE t_{kind} SET id = -id"
        yield f"DELETE FROM t_{kind}"


def test_a_restored_database_makes_the_same_events_of_the_same_changes(cluster, copy, db):
    db.run(MAKE_TYPES)
    for kind, (type_name, _) in TYPES.items():
        db.run(f"CREATE TABLE t_{kind} (id int PRIMARY KEY, v {type_name}, w text)")
        rows = [
            (f"{kind} {number}", event.split(","), columns, condition, payload)
            for number, (event, condition, columns, payload) in enumerate(combinations(kind))
        ]
        db.connection.cursor().executemany(
            f"SELECT webhook_create(%s, 'http://127.0.0.1:9/', 't_{kind}', %s, %s, %s, %s)", rows
        )
    changes = ";".join(all_changes())
    expected = events(db, changes)
    assert len({name for name, _, _ in expected}) == db.value("SELECT count(*) FROM webhook.webhook")
    other = copy(cluster)
    restore(other, dump(db, "-Fc"), "-1")
    assert events(other, changes) == expected
    other.run("SELECT webhook_arm()")
    assert events(other, changes) == expected
