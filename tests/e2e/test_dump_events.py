"""A restored database makes the same events of the same changes as the original."""

import itertools

import pytest

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
NO_EQUALITY = ("json", "jsons", "holds", "domain_json")
MAKE_TYPES = """
    CREATE TYPE pair AS (n int, t text); CREATE TYPE holds AS (j json, a int[]);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN written AS json;
"""

EVENTS = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
# With the events that have what a condition speaks of.
CONDITIONS = {
    None: EVENTS,
    "NEW.v IS NOT NULL": ("INSERT", "UPDATE"),
    "OLD.v::text <> ''": ("UPDATE", "DELETE"),
    "NEW.v::text IS DISTINCT FROM OLD.v::text": ("UPDATE",),
    "NEW.w <> OLD.w OR NEW.v IS NULL": ("UPDATE",),
}
# Where the type has an equality.
WHOLE_ROWS = {"OLD.* IS DISTINCT FROM NEW.*": ("UPDATE",)}
COLUMNS = [None, ["v"], ["w", "v"]]
PAYLOADS = [None, ["v"], ["id", "v"]]


def combinations(kind):
    """Each condition with each set of the events that can have it, and these with all else."""
    conditions = CONDITIONS if kind in NO_EQUALITY else CONDITIONS | WHOLE_ROWS
    for condition, possible in conditions.items():
        for count in range(1, len(possible) + 1):
            for chosen in itertools.combinations(possible, count):
                columns = COLUMNS if "UPDATE" in chosen else [None]
                for rest in itertools.product(columns, PAYLOADS):
                    yield list(chosen), condition, *rest


def literal(value):
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def changes(values):
    """From each value to each."""
    pool = [None, *values]
    for id, (old, new) in enumerate(itertools.product(pool, pool)):
        yield f"INSERT INTO t VALUES ({id}, {literal(old)}, 'w')"
        yield f"UPDATE t SET v = {literal(new)} WHERE id = {id}"
    yield "UPDATE t SET w = nullif('x', CASE WHEN id % 2 = 0 THEN 'x' END)"
    yield "UPDATE t SET id = -id"
    yield "DELETE FROM t WHERE id < -2"
    yield "TRUNCATE t"


@pytest.mark.parametrize("kind", TYPES)
def test_a_restored_database_makes_the_same_events_of_the_same_changes(db, cluster, copy, kind):
    """Of whatever type, by whatever events, condition, columns and payload_columns."""
    type_name, values = TYPES[kind]
    db.hand_over()
    db.run(f"{MAKE_TYPES} CREATE TABLE t (id int PRIMARY KEY, v {type_name}, w text)")
    rows = [(str(number), *combination) for number, combination in enumerate(combinations(kind))]
    db.connection.cursor().executemany(
        "SELECT webhook_create(%s, 'http://127.0.0.1:9/', 't', %s, condition => %s, columns => %s, payload_columns => %s)", rows
    )
    all_changes = ";".join(changes(values))
    expected = events(db, all_changes)
    assert {name for name, _, _ in expected} == {name for name, *_ in rows}
    other = copy(cluster)
    restore(other, dump(db, "-Fc"), "-1")
    assert events(other, all_changes) == expected
    other.run("SELECT webhook_arm()")
    assert events(other, all_changes) == expected
