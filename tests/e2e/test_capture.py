"""What each statement leaves behind: the events of docs/capture.md, row by row.

A case runs its statements in one session and compares the events with the expected multiset. The webhook is
paused, so that events are captured and kept; another session creates it and reads the log.
"""

import dataclasses
import json
import pathlib
import re
import typing

import psycopg
import pytest

from harness.cluster import Database
from harness.major import MAJOR

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "capture.md"
URL = "http://127.0.0.1:9/"

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text);"
ONE_ROW = TABLE + "INSERT INTO t VALUES (1, 'a');"
TWO_ROWS = TABLE + "INSERT INTO t VALUES (1, 'a'), (2, 'b');"
SECOND_TABLE = "CREATE TABLE u (id int PRIMARY KEY, v text);"
ALL_THREE = "INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'x' WHERE id = 2; DELETE FROM t WHERE id = 2"
PARTITIONED = """
    CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (100);
    CREATE TABLE high PARTITION OF t FOR VALUES FROM (100) TO (200);
    INSERT INTO t VALUES (1, 'a');
"""
WIDE = """
    CREATE TABLE t (id int PRIMARY KEY, v text, w text, n numeric, j json);
    INSERT INTO t VALUES (1, 'a', 'x', 43, '{"k": 1}');
"""


class Event(typing.NamedTuple):
    """What a delivery says of a change."""

    hook: str
    type: str
    schema: str
    table: str
    record: dict | None
    old_record: dict | None
    truncated: bool = False


def insert(record, table="t", schema="app", hook="hook", truncated=False):
    return Event(hook, "INSERT", schema, table, record, None, truncated)


def update(old, new, table="t", schema="app", hook="hook", truncated=False):
    return Event(hook, "UPDATE", schema, table, new, old, truncated)


def delete(record, table="t", schema="app", hook="hook", truncated=False):
    return Event(hook, "DELETE", schema, table, record, record, truncated)


def emptied(table="t"):
    return Event("hook", "TRUNCATE", "app", table, None, None)


def row(id, v, **more):
    return {"id": id, "v": v, **more}


def wide(**changed):
    return {"id": 1, "v": "a", "w": "x", "n": 43, "j": {"k": 1}} | changed


class Sessions(typing.NamedTuple):
    """The session that writes and the one that administers, both of the role that owns the tables; and a superuser's."""

    writer: psycopg.Connection
    admin: psycopg.Connection
    judge: psycopg.Connection


# Steps of a case besides plain SQL, which runs in the writer's session and may hold several statements.


def fails(sqlstate, statement):
    """Expect an error, of a statement or of another step, and end the transaction that it leaves."""
    def step(sessions):
        with pytest.raises(psycopg.Error) as caught:
            statement(sessions) if callable(statement) else sessions.writer.execute(statement)
        assert caught.value.sqlstate == sqlstate
        sessions.writer.rollback()
    return step


def elsewhere(statement):
    """Run in the other session."""
    return lambda sessions: sessions.admin.execute(statement)


def refuses_virtual(session, argument):
    """Expect that `argument` may not name column `twice` of table `t`."""
    with pytest.raises(psycopg.errors.FeatureNotSupported, match='"twice" of table app.t is a virtual generated column'):
        session.execute(f"SELECT webhook_watch('hook', 't', '{{UPDATE}}', {argument} => '{{twice}}')")
def tamper(statement, operation=""):
    """Run a statement that says {name} for the webhook's trigger and {id} for its argument."""
    def step(sessions):
        [id] = sessions.judge.execute("SELECT id FROM webhook.watch LIMIT 1").fetchone()
        sessions.writer.execute(statement.format(name=f'"_webhook_{id}_{operation.lower()}"', id=id))
    return step


def copy(statement, data):
    """COPY from the client."""
    def step(sessions):
        with sessions.writer.cursor().copy(statement) as stream:
            stream.write(data)
    return step


def trigger(when, body, table="t", name="users_own"):
    """SQL that creates a user's row trigger in PL/pgSQL."""
    return f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$;
        CREATE TRIGGER {name} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}();
    """


def copy_triggers(parent, child, old="", new=""):
    """SQL that gives a child its parent's triggers, as TimescaleDB does for chunks."""
    return f"""
        DO $copy$
        DECLARE definition text;
        BEGIN
            FOR definition IN SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = '{parent}'::regclass LOOP
                definition := replace(definition, ' ON app.{parent} ', ' ON app.{child} ');
                EXECUTE replace(definition, '{old}', '{new}');
            END LOOP;
        END $copy$
    """


@dataclasses.dataclass(frozen=True)
class Case:
    """Statements and the events they leave; `doc` is the row of the page that says so."""

    name: str
    doc: tuple[str, str]
    run: tuple
    events: tuple
    setup: str
    hooks: tuple[dict, ...]
    since: int


def case(name, doc, *run, events=(), setup=TABLE, hooks=({},), since=15):
    """A case, with its steps as arguments of their own; `since` is the first major that has such a statement."""
    return Case(name, doc, run, tuple(events), setup, hooks, since)


INSERTED = ("`INSERT`, in any form", "INSERT for each row")
COPIED = ("`COPY ... FROM`", "INSERT for each row")
VIEW = ("a change through an updatable view or a rule", "those of the table behind it")
EXPLAINED = ("`EXPLAIN ANALYZE` of a change", "as the change; plain `EXPLAIN`: none")

INSERTS = [
    case("insert-one-row", INSERTED, "INSERT INTO t VALUES (1, 'a')", events=[insert(row(1, "a"))]),
    case(
        "insert-several-rows", INSERTED,
        "INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, '')",
        events=[insert(row(1, "a")), insert(row(2, None)), insert(row(3, ""))],
    ),
    case(
        "insert-select", INSERTED,
        "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 3) AS i",
        events=[insert(row(i, f"v{i}")) for i in (1, 2, 3)],
    ),
    case("insert-select-of-nothing", INSERTED, "INSERT INTO t SELECT 1, 'a' WHERE false"),
    case(
        "insert-returning", INSERTED,
        "INSERT INTO t VALUES (1, 'a') RETURNING id",
        events=[insert(row(1, "a"))],
    ),
    case(
        "insert-default-values", INSERTED,
        "INSERT INTO t DEFAULT VALUES",
        setup="CREATE TABLE t (id int DEFAULT 7, v text DEFAULT 'none')", events=[insert(row(7, "none"))],
    ),
    case(
        "insert-by-prepared-statement", INSERTED,
        "PREPARE p AS INSERT INTO t VALUES ($1, $2); EXECUTE p (1, 'a'); EXECUTE p (2, 'b')",
        events=[insert(row(1, "a")), insert(row(2, "b"))],
    ),
    case(
        "copy-from-client", COPIED,
        copy("COPY t FROM STDIN", "1\ta\n2\t\\N\n"),
        events=[insert(row(1, "a")), insert(row(2, None))],
    ),
    case(
        "copy-into-partitions", COPIED,
        copy("COPY t FROM STDIN (FORMAT csv)", "2,b\n100,c\n"),
        setup=PARTITIONED, events=[insert(row(2, "b")), insert(row(100, "c"))],
    ),
    case(
        "view", VIEW,
        "INSERT INTO one VALUES (1, 'a'); UPDATE one SET v = 'b'; DELETE FROM one",
        setup=TABLE + "CREATE VIEW one AS SELECT * FROM t WHERE id = 1",
        events=[insert(row(1, "a")), update(row(1, "a"), row(1, "b")), delete(row(1, "b"))],
    ),
    case(
        "rule", VIEW,
        "INSERT INTO u VALUES (1, 'a')",
        setup=TABLE + SECOND_TABLE
        + "CREATE RULE r AS ON INSERT TO u DO INSTEAD INSERT INTO t VALUES (NEW.id, 'ruled')",
        events=[insert(row(1, "ruled"))],
    ),
    case("explain", EXPLAINED, "EXPLAIN INSERT INTO t VALUES (1, 'a')"),
    case(
        "explain-analyze", EXPLAINED,
        "EXPLAIN (ANALYZE, COSTS off) INSERT INTO t VALUES (1, 'a')",
        events=[insert(row(1, "a"))],
    ),
]

CHANGED = ("`UPDATE` that changes the row", "UPDATE")
UNCHANGED = ("`UPDATE` that changes nothing", "none")
EQUAL = ("`UPDATE` to a value that is equal in its type, as `43` and `43.0`", "none")
NO_EQUALITY = (
    "`UPDATE` of a type without equality (`json`, `xml`, `point`)",
    "UPDATE where the stored value differs",
)
BEFORE_EDITS = ("a change that a `BEFORE` trigger edits", "as the row is stored")
BEFORE_NULL = ("a change that a `BEFORE` trigger suppresses or reverts", "none")
AFTER_EDITS = ("a further change of the row by an `AFTER` trigger", "one for each change")
AFTER_OTHER = ("a change of another watched table by a trigger", "as that change")
LOCKED = ("`SELECT`, also with `FOR UPDATE`", "none")

UPDATES = [
    case(
        "update", CHANGED,
        "UPDATE t SET v = 'b' WHERE id = 1",
        setup=TWO_ROWS, events=[update(row(1, "a"), row(1, "b"))],
    ),
    case(
        "update-several-rows", CHANGED,
        "UPDATE t SET v = v || '!'",
        setup=TWO_ROWS, events=[update(row(1, "a"), row(1, "a!")), update(row(2, "b"), row(2, "b!"))],
    ),
    case(
        "update-from", CHANGED,
        "UPDATE t SET v = s.v FROM (VALUES (1, 'x'), (1, 'x')) AS s (id, v) WHERE s.id = t.id",
        setup=TWO_ROWS, events=[update(row(1, "a"), row(1, "x"))],
    ),
    case(
        "update-of-key", CHANGED,
        "UPDATE t SET id = 9", setup=ONE_ROW, events=[update(row(1, "a"), row(9, "a"))],
    ),
    case(
        "update-null-to-value", CHANGED,
        "UPDATE t SET v = 'b'",
        setup=TABLE + "INSERT INTO t VALUES (1, NULL)", events=[update(row(1, None), row(1, "b"))],
    ),
    case(
        "update-value-to-null", CHANGED,
        "UPDATE t SET v = NULL", setup=ONE_ROW, events=[update(row(1, "a"), row(1, None))],
    ),
    case(
        "update-null-to-empty", CHANGED,
        "UPDATE t SET v = ''",
        setup=TABLE + "INSERT INTO t VALUES (1, NULL)", events=[update(row(1, None), row(1, ""))],
    ),
    case(
        "update-at-cursor", CHANGED,
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE; MOVE c;"
        "UPDATE t SET v = 'b' WHERE CURRENT OF c; COMMIT",
        setup=ONE_ROW, events=[update(row(1, "a"), row(1, "b"))],
    ),
    case(
        "update-beside-a-large-column", CHANGED,
        "UPDATE t SET id = 2",
        setup=TABLE + "ALTER TABLE t ALTER v SET STORAGE EXTERNAL;"
        "INSERT INTO t VALUES (1, repeat('x', 100000))",
        events=[update(row(1, "x" * 100000), row(2, "x" * 100000))],
    ),
    case(
        "update-of-a-large-column", CHANGED,
        "UPDATE t SET v = repeat('y', 50000)",
        setup=TABLE + "INSERT INTO t VALUES (1, repeat('x', 50000))",
        events=[update(row(1, "x" * 50000), row(1, "y" * 50000))],
    ),
    case("update-to-same-value", UNCHANGED, "UPDATE t SET v = 'a'; UPDATE t SET v = v", setup=ONE_ROW),
    case(
        "update-of-null-to-null", UNCHANGED,
        "UPDATE t SET v = NULL",
        setup=TABLE + "INSERT INTO t VALUES (1, NULL)",
    ),
    case("update-without-match", UNCHANGED, "UPDATE t SET v = 'b' WHERE id = 9", setup=ONE_ROW),
    case(
        "update-of-a-large-column-to-same-value", UNCHANGED,
        "UPDATE t SET v = v; UPDATE t SET v = repeat('x', 100000)",
        setup=TABLE + "ALTER TABLE t ALTER v SET STORAGE EXTERNAL;"
        "INSERT INTO t VALUES (1, repeat('x', 100000))",
    ),
    case(
        "update-to-equal-numeric", EQUAL,
        "UPDATE t SET n = 43.0",
        setup="CREATE TABLE t (n numeric); INSERT INTO t VALUES (43)",
    ),
    case(
        "update-to-equal-of-other-types", EQUAL,
        "UPDATE t SET i = '24 hours', f = '-0', j = '{\"b\": 1.0, \"a\": 2}', a = '{43.00}'",
        setup="CREATE TABLE t (i interval, f float8, j jsonb, a numeric[]);"
        "INSERT INTO t VALUES ('1 day', 0, '{\"a\": 2, \"b\": 1}', '{43}')",
    ),
    case(
        "update-to-equal-numeric-beside-a-change", CHANGED,
        "UPDATE t SET n = 43.5, id = 2",
        setup="CREATE TABLE t (id int, n numeric); INSERT INTO t VALUES (1, 43)",
        events=[update({"id": 1, "n": 43}, {"id": 2, "n": 43.5})],
    ),
    case(
        "update-json-unchanged", NO_EQUALITY,
        "UPDATE t SET j = j; UPDATE t SET j = '{\"k\": 1}'",
        setup=WIDE,
    ),
    case(
        "update-large-json-unchanged", NO_EQUALITY,
        "UPDATE t SET j = j::text::json, v = v; ALTER TABLE t ALTER j SET STORAGE EXTERNAL;"
        "UPDATE t SET j = j::text::json",
        setup=WIDE + "UPDATE t SET j = to_json(repeat('x', 50000))",
    ),
    case(
        "update-json-rewritten", NO_EQUALITY,
        "UPDATE t SET j = '{\"k\":1 }'",
        setup=WIDE, events=[update(wide(), wide())],
    ),
    case(
        "update-json-changed", NO_EQUALITY,
        "UPDATE t SET j = '[]'",
        setup=WIDE, events=[update(wide(), wide(j=[]))],
    ),
    case(
        "update-beside-json", NO_EQUALITY,
        "UPDATE t SET v = 'b'",
        setup=WIDE, events=[update(wide(), wide(v="b"))],
    ),
    case(
        "update-xml-and-point", NO_EQUALITY,
        "UPDATE t SET x = '<a/>', p = '(1,2)'; UPDATE t SET x = '<b/>'; UPDATE t SET p = '(1,3)'",
        setup="CREATE TABLE t (x xml, p point); INSERT INTO t VALUES ('<a/>', '(1,2)')",
        events=[
            update({"x": "<a/>", "p": "(1,2)"}, {"x": "<b/>", "p": "(1,2)"}),
            update({"x": "<b/>", "p": "(1,2)"}, {"x": "<b/>", "p": "(1,3)"}),
        ],
    ),
    case(
        "update-array-and-row-of-json", NO_EQUALITY,
        "UPDATE t SET a = a, p = p, d = d; UPDATE t SET id = 2",
        setup="CREATE TYPE pair AS (k text, j json); CREATE DOMAIN document AS json;"
        "CREATE TABLE t (id int, a json[], p pair, d document);"
        "INSERT INTO t VALUES (1, ARRAY['1', '2']::json[], ROW('k', '1'), '0')",
        events=[update(
            {"id": 1, "a": [1, 2], "p": {"k": "k", "j": 1}, "d": 0},
            {"id": 2, "a": [1, 2], "p": {"k": "k", "j": 1}, "d": 0},
        )],
    ),
    case(
        "before-trigger-edits-insert", BEFORE_EDITS,
        "INSERT INTO t VALUES (1, 'a')",
        setup=TABLE + trigger("BEFORE INSERT", "NEW.v := 'edited'; RETURN NEW;"),
        events=[insert(row(1, "edited"))],
    ),
    case(
        "before-trigger-edits-a-column-not-set", BEFORE_EDITS,
        "UPDATE t SET id = id",
        setup=ONE_ROW + trigger("BEFORE UPDATE", "NEW.v := 'edited'; RETURN NEW;"),
        events=[update(row(1, "a"), row(1, "edited"))],
    ),
    case(
        "before-trigger-reverts", BEFORE_NULL,
        "UPDATE t SET v = 'b'",
        setup=ONE_ROW + trigger("BEFORE UPDATE", "RETURN OLD;"),
    ),
    case(
        "before-trigger-suppresses", BEFORE_NULL,
        "INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'b'; DELETE FROM t",
        setup=ONE_ROW + trigger("BEFORE INSERT OR UPDATE OR DELETE", "RETURN NULL;"),
    ),
    case(
        "after-trigger-changes-the-row", AFTER_EDITS,
        "INSERT INTO t VALUES (1, 'a')",
        setup=TABLE + trigger(
            "AFTER INSERT", "UPDATE t SET v = 'later' WHERE id = NEW.id; RETURN NULL;",
        ),
        events=[insert(row(1, "a")), update(row(1, "a"), row(1, "later"))],
    ),
    case(
        "trigger-writes-to-another-table", AFTER_OTHER,
        "INSERT INTO t VALUES (1, 'a')",
        setup=TABLE + SECOND_TABLE
        + trigger("AFTER INSERT", "INSERT INTO u VALUES (NEW.id, 'audit'); RETURN NULL;"),
        hooks=({}, {"name": "second", "table_name": "u"}),
        events=[insert(row(1, "a")), insert(row(1, "audit"), table="u", hook="second")],
    ),
    case(
        "deferred-trigger-writes-to-another-table", AFTER_OTHER,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); COMMIT",
        setup=TABLE + SECOND_TABLE + """
            CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
                $$BEGIN INSERT INTO u VALUES (NEW.id, 'late'); RETURN NULL; END$$;
            CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION late();
        """,
        hooks=({"table_name": "u"},), events=[insert(row(1, "late"), table="u")],
    ),
    case(
        "select-for-update", LOCKED,
        "SELECT * FROM t; BEGIN; SELECT * FROM t FOR UPDATE; SELECT * FROM t FOR KEY SHARE; COMMIT",
        setup=ONE_ROW,
    ),
]

DELETED = ("`DELETE`", "DELETE for each row")
EMPTIED = (
    "`TRUNCATE` of a table watched for it (`events` names TRUNCATE)",
    "TRUNCATE, one for the table, without rows",
)
TRUNCATED = ("`TRUNCATE` otherwise", "none")

DELETES = [
    case(
        "delete", DELETED,
        "DELETE FROM t",
        setup=TWO_ROWS, events=[delete(row(1, "a")), delete(row(2, "b"))],
    ),
    case(
        "delete-using", DELETED,
        "DELETE FROM t USING (VALUES (2), (2)) AS s (id) WHERE s.id = t.id RETURNING *",
        setup=TWO_ROWS, events=[delete(row(2, "b"))],
    ),
    case("delete-without-match", DELETED, "DELETE FROM t WHERE id = 9", setup=TWO_ROWS),
    case("truncate", TRUNCATED, "TRUNCATE t", setup=TWO_ROWS),
    case(
        "truncate-watched", EMPTIED,
        "TRUNCATE t; TRUNCATE t",
        setup=TWO_ROWS, hooks=({"events": ["TRUNCATE"]},), events=[emptied(), emptied()],
    ),
    case(
        "truncate-watched-with-partitions", EMPTIED,
        "TRUNCATE t; TRUNCATE low",
        setup=PARTITIONED, hooks=({"events": ["TRUNCATE", "DELETE"]},), events=[emptied()],
    ),
    case(
        "truncate-watched-cascade", EMPTIED,
        "TRUNCATE u CASCADE",
        setup=SECOND_TABLE + "CREATE TABLE t (id int REFERENCES u)",
        hooks=({"events": ["TRUNCATE"]},), events=[emptied()],
    ),
    case(
        "truncate-cascade", TRUNCATED,
        "TRUNCATE u CASCADE",
        setup=SECOND_TABLE + "CREATE TABLE t (id int REFERENCES u);"
        "INSERT INTO u VALUES (1, 'a'); INSERT INTO t VALUES (1)",
    ),
]

CONFLICT_NOTHING = ("`INSERT ... ON CONFLICT DO NOTHING` with a conflict", "none")
CONFLICT_UPDATE = (
    "`INSERT ... ON CONFLICT DO UPDATE`",
    "INSERT without a conflict; with one UPDATE, or none where `WHERE` is false or nothing changes",
)
MERGED = ("`MERGE`", "as the arm that is taken; `DO NOTHING`: none")
WITH = ("data-modifying `WITH`", "those of each part")

UPSERTS = [
    case(
        "do-nothing", CONFLICT_NOTHING,
        "INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING", setup=ONE_ROW,
    ),
    case(
        "do-nothing-without-conflict", INSERTED,
        "INSERT INTO t VALUES (1, 'x'), (2, 'b') ON CONFLICT DO NOTHING",
        setup=ONE_ROW, events=[insert(row(2, "b"))],
    ),
    case(
        "do-update-both-arms", CONFLICT_UPDATE,
        "INSERT INTO t VALUES (1, 'x'), (2, 'b') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
        setup=ONE_ROW, events=[update(row(1, "a"), row(1, "x")), insert(row(2, "b"))],
    ),
    case(
        "do-update-where-false", CONFLICT_UPDATE,
        "INSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = excluded.v WHERE false",
        setup=ONE_ROW,
    ),
    case(
        "do-update-of-nothing", CONFLICT_UPDATE,
        "INSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = t.v",
        setup=ONE_ROW,
    ),
    case(
        "do-update-in-a-partition", CONFLICT_UPDATE,
        "INSERT INTO t VALUES (1, 'x'), (150, 'b') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
        setup=PARTITIONED, events=[update(row(1, "a"), row(1, "x")), insert(row(150, "b"))],
    ),
    case(
        "merge-arms", MERGED,
        "MERGE INTO t USING (VALUES (1, 'x'), (2, 'y'), (3, 'z')) AS s (id, v) ON t.id = s.id"
        " WHEN MATCHED AND s.id = 1 THEN UPDATE SET v = s.v WHEN MATCHED THEN DELETE"
        " WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)",
        setup=TWO_ROWS, events=[update(row(1, "a"), row(1, "x")), delete(row(2, "b")), insert(row(3, "z"))],
    ),
    case(
        "merge-do-nothing", MERGED,
        "MERGE INTO t USING (VALUES (1), (3)) AS s (id) ON t.id = s.id"
        " WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN DO NOTHING",
        setup=ONE_ROW,
    ),
    case(
        "merge-to-same-value", MERGED,
        "MERGE INTO t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = 'a'",
        setup=ONE_ROW,
    ),
    case(
        "merge-into-partitions", MERGED,
        "MERGE INTO t USING (VALUES (1, 'x'), (150, 'y')) AS s (id, v) ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)",
        setup=PARTITIONED, events=[update(row(1, "a"), row(1, "x")), insert(row(150, "y"))],
    ),
    case(
        "merge-not-matched-by-source", MERGED,
        "MERGE INTO t USING (VALUES (1, 'x'), (3, 'z')) AS s (id, v) ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET v = s.v"
        " WHEN NOT MATCHED BY SOURCE AND t.id = 2 THEN DELETE WHEN NOT MATCHED BY SOURCE THEN UPDATE SET v = 'old'"
        " WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (s.id, s.v)",
        setup=TWO_ROWS + "INSERT INTO t VALUES (4, 'd')", since=17,
        events=[
            update(row(1, "a"), row(1, "x")), delete(row(2, "b")), insert(row(3, "z")), update(row(4, "d"), row(4, "old")),
        ],
    ),
    case(
        "merge-returning", MERGED,
        "WITH merged AS (MERGE INTO t USING (VALUES (1, 'x'), (3, 'z')) AS s (id, v) ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)"
        " RETURNING merge_action(), t.*) INSERT INTO u SELECT id, merge_action FROM merged",
        setup=TWO_ROWS + SECOND_TABLE, hooks=({}, {"name": "second", "table_name": "u"}), since=17,
        events=[
            update(row(1, "a"), row(1, "x")), insert(row(3, "z")),
            insert(row(1, "UPDATE"), table="u", hook="second"), insert(row(3, "INSERT"), table="u", hook="second"),
        ],
    ),
    case(
        "merge-through-a-view", MERGED,
        "MERGE INTO part USING (VALUES (1, 'x'), (3, 'z')) AS s (id, v) ON part.id = s.id"
        " WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)",
        setup=TWO_ROWS + "CREATE VIEW part AS SELECT * FROM t", since=17,
        events=[update(row(1, "a"), row(1, "x")), insert(row(3, "z"))],
    ),
    case(
        "with-two-tables", WITH,
        "WITH moved AS (DELETE FROM t WHERE id = 1 RETURNING *) INSERT INTO u SELECT * FROM moved",
        setup=TWO_ROWS + SECOND_TABLE, hooks=({}, {"name": "second", "table_name": "u"}),
        events=[delete(row(1, "a")), insert(row(1, "a"), table="u", hook="second")],
    ),
    case(
        "with-one-table", WITH,
        "WITH gone AS (DELETE FROM t WHERE id = 1 RETURNING *),"
        " changed AS (UPDATE t SET v = 'x' WHERE id = 2 RETURNING *)"
        " INSERT INTO t SELECT id + 10, v FROM gone UNION ALL SELECT id + 10, v FROM changed",
        setup=TWO_ROWS,
        events=[
            delete(row(1, "a")), update(row(2, "b"), row(2, "x")),
            insert(row(11, "a")), insert(row(12, "x")),
        ],
    ),
]

CASCADED = (
    "a foreign key's `CASCADE`, `SET NULL` or `SET DEFAULT`",
    "UPDATE or DELETE for each referencing row",
)
DEFERRED = ("a constraint that fails at `COMMIT`", "none")


def referencing(action):
    return f"""
        CREATE TABLE u (id int PRIMARY KEY);
        CREATE TABLE t (id int, u int DEFAULT 9 REFERENCES u {action});
        INSERT INTO u VALUES (1), (2), (9);
        INSERT INTO t VALUES (1, 1), (2, 1), (3, 2);
    """


FOREIGN_KEYS = [
    case(
        "on-delete-cascade", CASCADED,
        "DELETE FROM u WHERE id = 1",
        setup=referencing("ON DELETE CASCADE"),
        events=[delete({"id": 1, "u": 1}), delete({"id": 2, "u": 1})],
    ),
    case(
        "on-delete-set-null", CASCADED,
        "DELETE FROM u WHERE id = 2",
        setup=referencing("ON DELETE SET NULL"), events=[update({"id": 3, "u": 2}, {"id": 3, "u": None})],
    ),
    case(
        "on-delete-set-default", CASCADED,
        "DELETE FROM u WHERE id = 2",
        setup=referencing("ON DELETE SET DEFAULT"), events=[update({"id": 3, "u": 2}, {"id": 3, "u": 9})],
    ),
    case(
        "on-update-cascade", CASCADED,
        "UPDATE u SET id = 20 WHERE id = 2",
        setup=referencing("ON UPDATE CASCADE"), events=[update({"id": 3, "u": 2}, {"id": 3, "u": 20})],
    ),
    case(
        "deferred-foreign-key-fails", DEFERRED,
        fails("23503", "BEGIN; INSERT INTO t VALUES (4, 77); COMMIT"),
        setup=referencing("DEFERRABLE INITIALLY DEFERRED"),
    ),
    case(
        "deferred-unique-fails", DEFERRED,
        fails("23505", "BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); COMMIT"),
        setup="CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    ),
]

ROUTED = (
    "a change in a partition of a watched table, by whatever name",
    "as the change; its table is the watched one",
)
MOVED = ("`UPDATE` that moves a row to another partition", "DELETE and INSERT, no UPDATE")
ATTACHED = (
    "a change in a partition attached or created later",
    "as the change; its table is the watched one",
)
DETACHED = ("a change in a partition after `DETACH PARTITION`", "none")
ONE_PARTITION = (
    "a change in a partition that is watched itself, by whatever name",
    "as the change; its table is the partition",
)
OVERLAPPING = (
    "`webhook_watch` of a partition where the same webhook watches its parent, or the reverse",
    "none: refused with SQLSTATE 42710",
)
ATTACHING_WATCHED = (
    "a change in a table that became a partition while the same webhook watched both",
    "as the change, once; its table is the partition",
)
COPIED_TO_CHILD = (
    "a change in a table that inherits from a watched one and has a copy of its triggers, as a hypertable's chunks have",
    "as the change; its table and its columns are those of the watched one",
)
INHERITING = ("a change in a table that inherits from a watched one", "none, unless it is watched itself")

PARTITIONS = [
    case(
        "routed-insert", ROUTED,
        "INSERT INTO t VALUES (2, 'b'), (100, 'c')",
        setup=PARTITIONED, events=[insert(row(2, "b")), insert(row(100, "c"))],
    ),
    case(
        "update-within-a-partition", ROUTED,
        "UPDATE t SET v = 'b', id = 2",
        setup=PARTITIONED, events=[update(row(1, "a"), row(2, "b"))],
    ),
    case(
        "no-op-update-in-a-partition", UNCHANGED,
        "UPDATE t SET v = 'a'; UPDATE low SET id = 1", setup=PARTITIONED,
    ),
    case("delete-from-partitions", ROUTED, "DELETE FROM t", setup=PARTITIONED, events=[delete(row(1, "a"))]),
    case(
        "change-of-the-partition-itself", ROUTED,
        "INSERT INTO high VALUES (100, 'c'); UPDATE high SET v = 'd'; DELETE FROM high",
        setup=PARTITIONED,
        events=[insert(row(100, "c")), update(row(100, "c"), row(100, "d")), delete(row(100, "d"))],
    ),
    case(
        "default-partition", ROUTED,
        "INSERT INTO t VALUES (999, 'far')",
        setup=PARTITIONED + "CREATE TABLE rest PARTITION OF t DEFAULT", events=[insert(row(999, "far"))],
    ),
    case(
        "sub-partitions", ROUTED,
        "INSERT INTO t VALUES (200, 'a'), (250, 'b'); INSERT INTO deep VALUES (201, 'c')",
        setup=PARTITIONED + """
            CREATE TABLE middle PARTITION OF t FOR VALUES FROM (200) TO (300) PARTITION BY RANGE (id);
            CREATE TABLE deep PARTITION OF middle FOR VALUES FROM (200) TO (210);
            CREATE TABLE others PARTITION OF middle DEFAULT;
        """,
        events=[insert(row(200, "a")), insert(row(250, "b")), insert(row(201, "c"))],
    ),
    case(
        "partition-with-columns-in-another-order", ROUTED,
        "INSERT INTO t VALUES (200, 'a', 'x'); UPDATE t SET w = 'y' WHERE id = 200;"
        "UPDATE t SET v = 'b' WHERE id = 200; UPDATE t SET v = 'b' WHERE id = 200; DELETE FROM t",
        setup="""
            CREATE TABLE t (gone int, id int PRIMARY KEY, v text, w text) PARTITION BY RANGE (id);
            ALTER TABLE t DROP COLUMN gone;
            CREATE TABLE odd (w text, lost text, v text, id int NOT NULL);
            ALTER TABLE odd DROP COLUMN lost;
            ALTER TABLE t ATTACH PARTITION odd FOR VALUES FROM (200) TO (300);
        """,
        hooks=({"columns": ["v"], "condition": "true"},),
        events=[
            insert(row(200, "a", w="x")),
            update(row(200, "a", w="y"), row(200, "b", w="y")),
            delete(row(200, "b", w="y")),
        ],
    ),
    case(
        "partition-in-another-schema", ROUTED,
        "INSERT INTO t VALUES (200, 'a'); UPDATE other.part SET v = 'b'",
        setup=PARTITIONED + "CREATE SCHEMA other;"
        "CREATE TABLE other.part PARTITION OF t FOR VALUES FROM (200) TO (300)",
        events=[insert(row(200, "a")), update(row(200, "a"), row(200, "b"))],
    ),
    case(
        "row-moves", MOVED,
        "UPDATE t SET id = 101, v = 'b'",
        setup=PARTITIONED, events=[delete(row(1, "a")), insert(row(101, "b"))],
    ),
    case(
        "row-moves-past-a-webhook-for-update", MOVED,
        "UPDATE t SET id = 101", setup=PARTITIONED, hooks=({"events": ["UPDATE"]},),
    ),
    case(
        "partition-created-later", ATTACHED,
        "CREATE TABLE later PARTITION OF t FOR VALUES FROM (200) TO (300); INSERT INTO t VALUES (200, 'a')",
        setup=PARTITIONED, events=[insert(row(200, "a"))],
    ),
    case(
        "partition-attached-later", ATTACHED,
        "INSERT INTO later VALUES (200, 'a');"
        "ALTER TABLE t ATTACH PARTITION later FOR VALUES FROM (200) TO (300);"
        "INSERT INTO later VALUES (201, 'b')",
        setup=PARTITIONED + "CREATE TABLE later (id int NOT NULL, v text)", events=[insert(row(201, "b"))],
    ),
    case(
        "partition-detached-and-attached-again", ATTACHED,
        "ALTER TABLE t DETACH PARTITION high",
        "INSERT INTO high VALUES (100, 'a')",
        "ALTER TABLE t ATTACH PARTITION high FOR VALUES FROM (100) TO (200)",
        "INSERT INTO high VALUES (101, 'b')",
        setup=PARTITIONED, events=[insert(row(101, "b"))],
    ),
    case(
        "watched-table-becomes-a-partition", ATTACHED,
        "ALTER TABLE t ATTACH PARTITION later FOR VALUES FROM (200) TO (300);"
        "INSERT INTO t VALUES (200, 'a')",
        setup=PARTITIONED + "CREATE TABLE later (id int NOT NULL, v text)",
        hooks=({}, {"name": "second", "table_name": "later"}),
        events=[insert(row(200, "a")), insert(row(200, "a"), table="later", hook="second")],
    ),
    case(
        "partition-detached", DETACHED,
        "INSERT INTO high VALUES (100, 'a')",
        "ALTER TABLE t DETACH PARTITION high",
        "INSERT INTO high VALUES (101, 'b'); UPDATE high SET v = 'c'; DELETE FROM high",
        setup=PARTITIONED, events=[insert(row(100, "a"))],
    ),
    case(
        "partition-detached-concurrently", DETACHED,
        "ALTER TABLE t DETACH PARTITION high CONCURRENTLY",
        "INSERT INTO high VALUES (101, 'b')",
        setup=PARTITIONED,
    ),
    case(
        "sub-partition-detached", DETACHED,
        "INSERT INTO deep VALUES (200, 'a')",
        "ALTER TABLE t DETACH PARTITION middle",
        "INSERT INTO deep VALUES (201, 'b'); INSERT INTO middle VALUES (202, 'c')",
        setup=PARTITIONED + """
            CREATE TABLE middle PARTITION OF t FOR VALUES FROM (200) TO (300) PARTITION BY RANGE (id);
            CREATE TABLE deep PARTITION OF middle FOR VALUES FROM (200) TO (210);
        """,
        events=[insert(row(200, "a"))],
    ),
    case(
        "one-partition-watched", ONE_PARTITION,
        "INSERT INTO t VALUES (2, 'b'), (100, 'c'); INSERT INTO high VALUES (101, 'd')",
        setup=PARTITIONED, hooks=({"table_name": "high"},),
        events=[insert(row(100, "c"), table="high"), insert(row(101, "d"), table="high")],
    ),
    case(
        "row-moves-into-a-watched-partition", ONE_PARTITION,
        "UPDATE t SET id = 100", "UPDATE t SET id = 2",
        setup=PARTITIONED, hooks=({"table_name": "high"},),
        events=[insert(row(100, "a"), table="high"), delete(row(100, "a"), table="high")],
    ),
    case(
        "partition-and-parent-watched", ONE_PARTITION,
        "INSERT INTO t VALUES (100, 'c')",
        setup=PARTITIONED, hooks=({}, {"name": "second", "table_name": "high"}),
        events=[insert(row(100, "c")), insert(row(100, "c"), table="high", hook="second")],
    ),
    case(
        "partition-of-a-watched-parent", OVERLAPPING,
        fails("42710", "SELECT webhook_watch('hook', 'low')"),
        "INSERT INTO t VALUES (2, 'b')",
        setup=PARTITIONED, events=[insert(row(2, "b"))],
    ),
    case(
        "parent-of-a-watched-partition", OVERLAPPING,
        fails("42710", "SELECT webhook_watch('hook', 't')"),
        "INSERT INTO t VALUES (2, 'b'), (100, 'c')",
        setup=PARTITIONED, hooks=({"table_name": "low"},), events=[insert(row(2, "b"), table="low")],
    ),
    case(
        "attaching-a-watched-table", ATTACHING_WATCHED,
        elsewhere("SELECT webhook_watch('hook', 'later', '{INSERT,DELETE}')"),
        "ALTER TABLE t ATTACH PARTITION later FOR VALUES FROM (200) TO (300)",
        "INSERT INTO t VALUES (200, 'a'), (10, 'b'); UPDATE later SET v = 'c'; DELETE FROM t WHERE id = 200",
        elsewhere("SELECT webhook_unwatch('hook', 'later')"),
        "INSERT INTO t VALUES (201, 'd')",
        setup=PARTITIONED + "CREATE TABLE later (id int NOT NULL, v text)",
        events=[
            insert(row(200, "a"), table="later"), insert(row(10, "b")), update(row(200, "a"), row(200, "c")),
            delete(row(200, "c"), table="later"), insert(row(201, "d")),
        ],
    ),
    case(
        "child-with-copied-triggers", COPIED_TO_CHILD,
        elsewhere(copy_triggers("t", "child")),
        "INSERT INTO child VALUES ('x', 2, 'b'), ('x', 3, 'no')",
        "UPDATE child SET v = 'c' WHERE id = 2; UPDATE child SET own = 'y', v = v",
        "DELETE FROM t WHERE id = 2",
        setup="CREATE TABLE t (gone int, id int, v text); ALTER TABLE t DROP COLUMN gone;"
        "CREATE TABLE child (own text, id int, v text); ALTER TABLE child INHERIT t",
        hooks=(
            {"events": ["INSERT"], "condition": "NEW.v <> 'no'"},
            {"name": "second", "events": ["UPDATE", "DELETE"]},
        ),
        events=[
            insert(row(2, "b")), update(row(2, "b"), row(2, "c"), hook="second"), delete(row(2, "c"), hook="second"),
        ],
    ),
    case(
        "grandchild-with-copied-triggers", COPIED_TO_CHILD,
        elsewhere(copy_triggers("t", "grandchild")),
        "INSERT INTO grandchild VALUES (2, 'b')",
        "ALTER TABLE child NO INHERIT t",
        "INSERT INTO grandchild VALUES (3, 'c')",
        "ALTER TABLE child INHERIT t",
        "INSERT INTO grandchild VALUES (4, 'd')",
        setup=TABLE + "CREATE TABLE child () INHERITS (t); CREATE TABLE grandchild () INHERITS (child)",
        events=[insert(row(2, "b")), insert(row(4, "d"))],
    ),
    case(
        "child-with-a-wider-copy", COPIED_TO_CHILD,
        elsewhere(copy_triggers("t", "child", "new.v = ''some''::text", "true")),
        "INSERT INTO child VALUES (2, 'b'), (3, 'some')",
        setup=TABLE + "CREATE TABLE child () INHERITS (t)",
        hooks=({"events": ["INSERT"], "condition": "NEW.v = 'some'"},),
    ),
    case(
        "inheriting-table", INHERITING,
        "INSERT INTO child VALUES (2, 'b'); UPDATE t SET v = 'x'; DELETE FROM t",
        setup=ONE_ROW + "CREATE TABLE child () INHERITS (t)",
        events=[update(row(1, "a"), row(1, "x")), delete(row(1, "x"))],
    ),
    case(
        "inheriting-table-watched-itself", INHERITING,
        "INSERT INTO child VALUES (2, 'b', 3); UPDATE t SET v = 'x'",
        setup=ONE_ROW + "CREATE TABLE child (extra int) INHERITS (t)",
        hooks=({}, {"name": "second", "table_name": "child"}),
        events=[
            insert(row(2, "b", extra=3), table="child", hook="second"),
            update(row(1, "a"), row(1, "x")),
            update(row(2, "b", extra=3), row(2, "x", extra=3), table="child", hook="second"),
        ],
    ),
]

COMMITTED = ("changes of a transaction that commits", "one for each change, also where one undoes another")
ROLLED_BACK = ("changes of a transaction that rolls back", "none")
SAVEPOINT = ("changes rolled back to a savepoint, or by a PL/pgSQL exception block", "none")
RELEASED = ("changes after a savepoint that is released", "as the changes")
PROCEDURE = ("a procedure that commits and rolls back", "those of the transactions that commit")
FAILED = ("a statement that fails", "none")
TWO_PHASE = ("`PREPARE TRANSACTION`", "none until `COMMIT PREPARED`; none after `ROLLBACK PREPARED`")
ISOLATED = ("changes under `REPEATABLE READ` or `SERIALIZABLE`", "as the changes")

TRANSACTIONS = [
    case(
        "several-changes-of-one-row", COMMITTED,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; UPDATE t SET v = 'a'; DELETE FROM t;"
        "COMMIT",
        events=[
            insert(row(1, "a")), update(row(1, "a"), row(1, "b")), update(row(1, "b"), row(1, "a")),
            delete(row(1, "a")),
        ],
    ),
    case(
        "rollback", ROLLED_BACK,
        "BEGIN; INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'x'; DELETE FROM t; ROLLBACK",
        setup=ONE_ROW,
    ),
    case(
        "savepoint-rolled-back", SAVEPOINT,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); SAVEPOINT s; INSERT INTO t VALUES (2, 'b'); ROLLBACK TO s;"
        "INSERT INTO t VALUES (3, 'c'); COMMIT",
        events=[insert(row(1, "a")), insert(row(3, "c"))],
    ),
    case(
        "middle-of-three-savepoints-rolled-back", SAVEPOINT,
        "BEGIN; INSERT INTO t VALUES (0, 'a'); SAVEPOINT a; INSERT INTO t VALUES (1, 'a');"
        "SAVEPOINT b; INSERT INTO t VALUES (2, 'b'); SAVEPOINT c; INSERT INTO t VALUES (3, 'c');"
        "RELEASE c; ROLLBACK TO b; INSERT INTO t VALUES (4, 'd'); COMMIT",
        events=[insert(row(0, "a")), insert(row(1, "a")), insert(row(4, "d"))],
    ),
    case(
        "exception-block", SAVEPOINT,
        """
            DO $$BEGIN
                INSERT INTO t VALUES (1, 'a');
                BEGIN
                    INSERT INTO t VALUES (2, 'b');
                    PERFORM 1 / 0;
                EXCEPTION WHEN division_by_zero THEN
                    INSERT INTO t VALUES (3, 'c');
                END;
            END$$
        """,
        events=[insert(row(1, "a")), insert(row(3, "c"))],
    ),
    case(
        "exception-blocks-in-a-loop", SAVEPOINT,
        """
            DO $$BEGIN
                FOR i IN 1..6 LOOP
                    BEGIN
                        INSERT INTO t VALUES (i, 'a');
                        IF i % 2 = 0 THEN RAISE EXCEPTION 'even'; END IF;
                    EXCEPTION WHEN raise_exception THEN NULL;
                    END;
                END LOOP;
            END$$
        """,
        events=[insert(row(i, "a")) for i in (1, 3, 5)],
    ),
    case(
        "savepoint-released", RELEASED,
        "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (1, 'a'); SAVEPOINT b; INSERT INTO t VALUES (2, 'b');"
        "RELEASE a; COMMIT",
        events=[insert(row(1, "a")), insert(row(2, "b"))],
    ),
    case(
        "released-savepoint-rolled-back-with-its-parent", SAVEPOINT,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); SAVEPOINT a; SAVEPOINT b; INSERT INTO t VALUES (2, 'b');"
        "RELEASE b; ROLLBACK TO a; COMMIT",
        events=[insert(row(1, "a"))],
    ),
    case(
        "webhook-changed-and-rolled-back-to-a-savepoint", SAVEPOINT,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); SAVEPOINT s; SELECT webhook_update('hook', enabled => false);"
        "INSERT INTO t VALUES (2, 'b'); ROLLBACK TO s; INSERT INTO t VALUES (3, 'c'); COMMIT",
        events=[insert(row(1, "a")), insert(row(3, "c"))],
    ),
    case(
        "procedure", PROCEDURE,
        "CALL p()",
        setup=TABLE + """
            CREATE PROCEDURE p() LANGUAGE plpgsql AS $$BEGIN
                INSERT INTO t VALUES (1, 'a'); COMMIT;
                INSERT INTO t VALUES (2, 'b'); ROLLBACK;
                INSERT INTO t VALUES (3, 'c');
            END$$;
        """,
        events=[insert(row(1, "a")), insert(row(3, "c"))],
    ),
    case(
        "error-in-mid-statement", FAILED,
        fails("22012", "INSERT INTO t SELECT i, (1 / (3 - i))::text FROM generate_series(1, 5) AS i"),
    ),
    case(
        "copy-that-fails", FAILED,
        fails("23505", copy("COPY t FROM STDIN (FORMAT csv)", "1,a\n2,b\n1,c\n")),
    ),
    case(
        "error-after-the-statement", ROLLED_BACK,
        fails("22012", "BEGIN; INSERT INTO t VALUES (1, 'a'); SELECT 1 / 0; COMMIT"),
    ),
    case(
        "error-in-an-after-trigger", FAILED,
        fails("P0001", "INSERT INTO t VALUES (1, 'a')"),
        setup=TABLE + trigger("AFTER INSERT", "RAISE EXCEPTION 'no';", name="zzz_last"),
    ),
    case(
        "commit-prepared", TWO_PHASE,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); PREPARE TRANSACTION 'capture'",
        "COMMIT PREPARED 'capture'",
        events=[insert(row(1, "a"))],
    ),
    case(
        "rollback-prepared", TWO_PHASE,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); PREPARE TRANSACTION 'capture'",
        "ROLLBACK PREPARED 'capture'",
    ),
    case(
        "repeatable-read", ISOLATED,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'x'; COMMIT",
        setup=ONE_ROW,
        events=[
            insert(row(2, "b")), update(row(1, "a"), row(1, "x")), update(row(2, "b"), row(2, "x")),
        ],
    ),
    case(
        "serializable", ISOLATED,
        "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t; INSERT INTO t VALUES (2, 'b');"
        "DELETE FROM t WHERE id = 1; COMMIT",
        setup=ONE_ROW, events=[insert(row(2, "b")), delete(row(1, "a"))],
    ),
]

DEFINED = ("`ALTER TABLE` and other DDL, also where it rewrites the table", "none")
GENERATED = (
    "a change of a table with stored generated or identity columns",
    "as the change, with those columns",
)
VIRTUAL = (
    "a change of a table with virtual generated columns (PostgreSQL 18)",
    "as the change, without those columns; `columns` and `payload_columns` refuse them with SQLSTATE 0A000",
)
DROPPED = ("a change after `DROP COLUMN`", "as the change, without the column")
ADDED = ("a change after `ADD COLUMN`", "as the change, with the column and, for older rows, its default")
RENAMED = (
    "a change after a column, the table or its schema has been renamed, or the table moved to another schema",
    "as the change, with the new name",
)
REPLACED = (
    "a change of a table that has been created in the place of the watched one, which has been dropped or renamed",
    "none, until it is watched; `webhook_check` says so",
)
RENAMED_COLUMN = (
    "a change after a column that `columns`, `payload_columns` or `condition` names has been renamed",
    "as the change: they mean the column by its new name",
)
TAMPERED = (
    "a change after one of the webhook's triggers has been dropped, renamed, or replaced by another definition",
    "none of its kind, until it is as it was; `webhook_check` says so",
)
HAND_MADE = (
    "a change of a table with a trigger on `webhook.capture` that pg_webhook has not made there, as a dump of one table"
    " brings along",
    "none",
)
CAPTURES = "FOR EACH ROW EXECUTE FUNCTION webhook.capture"
QUOTED = ("a change of a table with any name that PostgreSQL allows", "as the change, with the name as it is")

WEIRD = 'wéird "t" \\ 日本 \U0001F600'
WEIRD_SQL = '"wéird ""t"" \\ 日本 \U0001F600"'

DEFINITIONS = [
    case(
        "alter-table-that-rewrites", DEFINED,
        "ALTER TABLE t ALTER id TYPE bigint, ADD w text DEFAULT md5(random()::text)",
        "ALTER TABLE t DROP w", "VACUUM FULL t", "CREATE INDEX ON t (v)",
        setup=TWO_ROWS,
    ),
    case(
        "column-type-changed", CHANGED,
        "UPDATE t SET v = 'b'", "ALTER TABLE t ALTER id TYPE text", "UPDATE t SET id = '2'",
        setup=ONE_ROW, events=[update(row(1, "a"), row(1, "b")), update(row("1", "b"), row("2", "b"))],
    ),
    case(
        "generated-column", GENERATED,
        "INSERT INTO t (n) VALUES (2); UPDATE t SET n = 3",
        setup="CREATE TABLE t (n int, twice int GENERATED ALWAYS AS (n * 2) STORED)",
        events=[insert({"n": 2, "twice": 4}), update({"n": 2, "twice": 4}, {"n": 3, "twice": 6})],
    ),
    case(
        "virtual-column", VIRTUAL,
        "INSERT INTO t (n) VALUES (2); UPDATE t SET n = 3; UPDATE t SET n = 3; DELETE FROM t",
        setup="CREATE TABLE t (n int, twice int GENERATED ALWAYS AS (n * 2))", since=18,
        events=[insert({"n": 2}), update({"n": 2}, {"n": 3}), delete({"n": 3})],
    ),
    case(
        "virtual-column-beside-others", VIRTUAL,
        "INSERT INTO t (id, p) VALUES (1, point '(1,2)')", "ALTER TABLE t ADD v text DEFAULT 'a'",
        "UPDATE t SET id = 2", "ALTER TABLE t DROP thrice", "UPDATE t SET id = 3",
        setup="CREATE TABLE t (thrice int GENERATED ALWAYS AS (id * 3), id int, kept int GENERATED ALWAYS AS (id + 1) STORED, p point)",
        since=18,
        events=[
            insert({"id": 1, "kept": 2, "p": "(1,2)"}),
            update({"id": 1, "kept": 2, "p": "(1,2)", "v": "a"}, {"id": 2, "kept": 3, "p": "(1,2)", "v": "a"}),
            update({"id": 2, "kept": 3, "p": "(1,2)", "v": "a"}, {"id": 3, "kept": 4, "p": "(1,2)", "v": "a"}),
        ],
    ),
    case(
        "virtual-column-in-a-condition", VIRTUAL,
        "INSERT INTO t (n) VALUES (2), (20); UPDATE t SET n = n + 5",
        setup="CREATE TABLE t (n int, twice int GENERATED ALWAYS AS (n * 2))", since=18,
        hooks=({"condition": "NEW.twice > 20", "events": ["INSERT", "UPDATE"]},),
        events=[insert({"n": 20}), update({"n": 20}, {"n": 25})],
    ),
    case(
        "virtual-column-refused", VIRTUAL,
        elsewhere("SELECT webhook_unwatch('hook', 't')"),
        *(
            lambda sessions, argument=argument: refuses_virtual(sessions.admin, argument)
            for argument in ("columns", "payload_columns")
        ),
        "INSERT INTO t (n) VALUES (2)",
        setup="CREATE TABLE t (n int, twice int GENERATED ALWAYS AS (n * 2))", since=18,
    ),
    case(
        "identity-column", GENERATED,
        "INSERT INTO t (v) VALUES ('a'), ('b')",
        setup="CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v text)",
        events=[insert(row(1, "a")), insert(row(2, "b"))],
    ),
    case(
        "column-dropped", DROPPED,
        "INSERT INTO t VALUES (2, 'x', 'b')", "ALTER TABLE t DROP COLUMN gone", "UPDATE t SET v = v || '!'",
        setup="CREATE TABLE t (id int, gone text, v text); INSERT INTO t VALUES (1, 'x', 'a')",
        events=[
            insert(row(2, "b", gone="x")),
            update(row(1, "a"), row(1, "a!")), update(row(2, "b"), row(2, "b!")),
        ],
    ),
    case(
        "column-added", ADDED,
        "ALTER TABLE t ADD COLUMN w int DEFAULT 7, ADD COLUMN x text",
        "UPDATE t SET v = v; UPDATE t SET w = 7; UPDATE t SET v = 'b'; DELETE FROM t",
        setup=ONE_ROW,
        events=[
            update(row(1, "a", w=7, x=None), row(1, "b", w=7, x=None)), delete(row(1, "b", w=7, x=None)),
        ],
    ),
    case(
        "json-column-added", ADDED,
        "ALTER TABLE t ADD COLUMN j json DEFAULT '{\"k\": 1}'",
        "UPDATE t SET v = 'b'; UPDATE t SET v = 'b'; UPDATE t SET j = 'null'",
        setup=ONE_ROW,
        events=[
            update(row(1, "a", j={"k": 1}), row(1, "b", j={"k": 1})),
            update(row(1, "b", j={"k": 1}), row(1, "b", j=None)),
        ],
    ),
    case(
        "json-column-added-to-a-partitioned-table", ADDED,
        "ALTER TABLE t ADD COLUMN j json", "UPDATE t SET v = 'b'",
        setup=PARTITIONED, events=[update(row(1, "a", j=None), row(1, "b", j=None))],
    ),
    case(
        "json-attribute-added-to-a-column's-type", ADDED,
        "ALTER TYPE pair ADD ATTRIBUTE j json", "UPDATE t SET v = 'b'",
        setup="CREATE TYPE pair AS (k text); CREATE TABLE t (id int, v text, p pair);"
        "INSERT INTO t VALUES (1, 'a', ROW('k'))",
        events=[update(
            row(1, "a", p={"k": "k", "j": None}), row(1, "b", p={"k": "k", "j": None}),
        )],
    ),
    case(
        "column-renamed", RENAMED,
        "INSERT INTO t VALUES (1, 'a')", "ALTER TABLE t RENAME v TO label", "UPDATE t SET label = 'b'",
        events=[insert(row(1, "a")), update({"id": 1, "label": "a"}, {"id": 1, "label": "b"})],
    ),
    case(
        "table-renamed", RENAMED,
        "INSERT INTO t VALUES (1, 'a'); ALTER TABLE t RENAME TO renamed; INSERT INTO renamed VALUES (2, 'b')",
        events=[insert(row(1, "a")), insert(row(2, "b"), table="renamed")],
    ),
    case(
        "table-renamed-by-another-session", RENAMED,
        "INSERT INTO t VALUES (1, 'a')",
        elsewhere("ALTER TABLE t RENAME TO renamed"),
        "INSERT INTO renamed VALUES (2, 'b')",
        events=[insert(row(1, "a")), insert(row(2, "b"), table="renamed")],
    ),
    case(
        "partitioned-table-renamed-by-another-session", RENAMED,
        "INSERT INTO low VALUES (2, 'b')",
        elsewhere("ALTER TABLE t RENAME TO renamed"),
        "INSERT INTO low VALUES (3, 'c')",
        setup=PARTITIONED, events=[insert(row(2, "b")), insert(row(3, "c"), table="renamed")],
    ),
    case(
        "rename-rolled-back", RENAMED,
        "BEGIN; ALTER TABLE t RENAME TO renamed; INSERT INTO renamed VALUES (1, 'a'); ROLLBACK",
        "INSERT INTO t VALUES (2, 'b')",
        events=[insert(row(2, "b"))],
    ),
    case(
        "table-moved-to-another-schema", RENAMED,
        "INSERT INTO t VALUES (1, 'a')",
        "ALTER TABLE t SET SCHEMA other",
        "INSERT INTO other.t VALUES (2, 'b')",
        setup=TABLE + "CREATE SCHEMA other",
        events=[insert(row(1, "a")), insert(row(2, "b"), schema="other")],
    ),
    case(
        "schema-renamed", RENAMED,
        "INSERT INTO t VALUES (1, 'a')",
        "ALTER SCHEMA app RENAME TO new",
        "INSERT INTO new.t VALUES (2, 'b')",
        events=[insert(row(1, "a")), insert(row(2, "b"), schema="new")],
    ),
    case(
        "schema-renamed-by-another-session", RENAMED,
        "INSERT INTO t VALUES (1, 'a')",
        elsewhere("ALTER SCHEMA app RENAME TO new"),
        "INSERT INTO new.t VALUES (2, 'b')",
        events=[insert(row(1, "a")), insert(row(2, "b"), schema="new")],
    ),
    case(
        "quoted-names", QUOTED,
        f"INSERT INTO {WEIRD_SQL} VALUES (1, 2, 3, 4)",
        f'UPDATE {WEIRD_SQL} SET "OLD" = 5',
        setup=f"""CREATE TABLE {WEIRD_SQL} ("a ""b"" \\" int, "new" int, "OLD" int, "it's %s $1 ?" int)""",
        hooks=({"table_name": WEIRD_SQL, "columns": ["OLD", "it's %s $1 ?", 'a "b" \\']},),
        events=[
            insert({'a "b" \\': 1, "new": 2, "OLD": 3, "it's %s $1 ?": 4}, table=WEIRD),
            update(
                {'a "b" \\': 1, "new": 2, "OLD": 3, "it's %s $1 ?": 4},
                {'a "b" \\': 1, "new": 2, "OLD": 5, "it's %s $1 ?": 4},
                table=WEIRD,
            ),
        ],
    ),
    case(
        "column-of-columns-and-condition-renamed", RENAMED_COLUMN,
        "ALTER TABLE t RENAME v TO value; UPDATE t SET value = 'b'; UPDATE t SET id = 2; UPDATE t SET value = 'x'",
        elsewhere("SELECT webhook_update('hook', events => '{INSERT,UPDATE}')"),
        "UPDATE t SET value = 'c'; UPDATE t SET id = 3; INSERT INTO t VALUES (4, 'x'), (5, 'e')",
        setup=ONE_ROW,
        hooks=({"events": ["UPDATE"], "columns": ["v"], "payload_columns": ["id", "v"], "condition": "NEW.v <> 'x'"},),
        events=[
            update({"id": 1, "value": "a"}, {"id": 1, "value": "b"}),
            update({"id": 2, "value": "x"}, {"id": 2, "value": "c"}),
            insert({"id": 5, "value": "e"}),
        ],
    ),
    case(
        "trigger-dropped", TAMPERED,
        tamper("DROP TRIGGER {name} ON t", "INSERT"), ALL_THREE,
        setup=TABLE, events=[update(row(2, "b"), row(2, "x")), delete(row(2, "x"))],
    ),
    case(
        "trigger-renamed-and-back", TAMPERED,
        tamper("ALTER TRIGGER {name} ON t RENAME TO other", "INSERT"), ALL_THREE,
        tamper("ALTER TRIGGER other ON t RENAME TO {name}", "INSERT"), "INSERT INTO t VALUES (3, 'c')",
        setup=TABLE,
        events=[update(row(2, "b"), row(2, "x")), delete(row(2, "x")), insert(row(3, "c"))],
    ),
    case(
        "trigger-replaced", TAMPERED,
        tamper("CREATE OR REPLACE TRIGGER {name} AFTER INSERT ON t " + CAPTURES + "('{id}')", "INSERT"),
        "INSERT INTO t VALUES (1, 'no'), (2, 'yes')",
        elsewhere("SELECT webhook_update('hook', condition => $$NEW.v = 'yes'$$)"),
        "INSERT INTO t VALUES (3, 'no'), (4, 'yes')",
        setup=TABLE, hooks=({"events": ["INSERT"], "condition": "NEW.v = 'yes'"},),
        events=[insert(row(4, "yes"))],
    ),
    case(
        "trigger-replaced-by-one-for-more-operations", TAMPERED,
        tamper("CREATE OR REPLACE TRIGGER {name} AFTER INSERT OR DELETE ON t " + CAPTURES + "('{id}')", "INSERT"),
        "INSERT INTO t VALUES (1, 'a'); DELETE FROM t",
        elsewhere("SELECT webhook_update('hook', events => '{INSERT}')"),
        "INSERT INTO t VALUES (2, 'b'); DELETE FROM t",
        setup=TABLE, hooks=({"events": ["INSERT"]},), events=[insert(row(2, "b"))],
    ),
    case(
        "trigger-made-by-hand", HAND_MADE,
        tamper("CREATE TRIGGER other AFTER INSERT OR UPDATE ON t " + CAPTURES + "('{id}')"),
        tamper("CREATE TRIGGER {name} AFTER DELETE ON t " + CAPTURES + "('{id}')", "DELETE"),
        tamper("CREATE TRIGGER {name} AFTER INSERT ON u " + CAPTURES + "('{id}')", "INSERT"),
        f"CREATE TRIGGER number AFTER INSERT ON u {CAPTURES}('1');"
        f"CREATE TRIGGER odd AFTER INSERT ON u {CAPTURES}('');"
        f"CREATE TRIGGER unknown AFTER INSERT ON u {CAPTURES}('00000000-0000-0000-0000-000000000000')",
        "INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'x'; DELETE FROM t; INSERT INTO u VALUES (1, 'a')",
        setup=TABLE + SECOND_TABLE, hooks=({"events": ["INSERT"]},), events=[insert(row(2, "b"))],
    ),
    case(
        "table-created-again", REPLACED,
        "INSERT INTO t VALUES (1, 'a')", "DROP TABLE t; CREATE TABLE t (id int)", "INSERT INTO t VALUES (2)",
        events=[insert(row(1, "a"))],
    ),
]

EVENTS = ("a change that `events` does not name", "none")
COLUMNS = (
    "`UPDATE` of a table watched with `columns`",
    "UPDATE where the stored value of one of them changes, whatever `SET` names",
)
COLUMNS_ONLY_UPDATE = ("`INSERT` or `DELETE` of a table watched with `columns`", "as without them")
CONDITION = ("a change for which `condition` is false or null", "none")
CONDITION_FAILS = (
    "a change for which `condition` raises an error",
    "none: the statement fails with that error",
)
TYPES_PATH = (
    "a change under another `search_path` than that of `webhook_create`",
    "as the change: names in `condition` keep their meaning",
)
COLUMN_FORCED = (
    "a change after `DROP COLUMN ... CASCADE` of such a column",
    "none of the kinds to which it applied: their triggers went with it",
)
COLUMN_NEEDED = (
    "`DROP COLUMN`, or a change of type, of a column that `columns` or `condition` names",
    "none: PostgreSQL refuses it",
)
PAYLOAD_COLUMNS = (
    "a change of a table watched with `payload_columns`",
    "as the change, with those columns only; an UPDATE of other columns counts too",
)
PAYLOAD_COLUMN_GONE = (
    "a change after `DROP COLUMN` of a column that `payload_columns` names",
    "none, until `webhook_update` names others; `webhook_check` says so",
)
TRANSFORM_DROPS = ("a change for which `transform` returns NULL", "none")
TRANSFORM = (
    "a change for which `transform` returns another payload", "as the change, with that as its body",
)
TRANSFORM_FAILS = (
    "a change for which `transform` raises an error",
    "as the change: a dead letter with the body as it was before; none with `on_transform_error => 'fail'`: the statement fails",
)
SHAPE = """
    CREATE FUNCTION shape(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$
        SELECT jsonb_set(payload, '{record,v}', to_jsonb('v' || 4 / (payload->'record'->>'id')::int))
        WHERE payload->'record'->>'v' <> 'none'
    $$;
"""
SHAPED = ({"transform": "shape(jsonb)", "events": ["INSERT"]},)

FILTERS = [
    case(
        "payload-columns", PAYLOAD_COLUMNS,
        "INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; DELETE FROM t",
        hooks=({"payload_columns": ["id"]},),
        events=[insert({"id": 1}), update({"id": 1}, {"id": 1}), delete({"id": 1})],
    ),
    case(
        "payload-column-dropped", PAYLOAD_COLUMN_GONE,
        "ALTER TABLE t DROP COLUMN v", "INSERT INTO t VALUES (1)",
        elsewhere("SELECT webhook_update('hook', payload_columns => '{id}')"), "INSERT INTO t VALUES (2)",
        hooks=({"payload_columns": ["id", "v"]},),
        events=[insert({"id": 2})],
    ),
    case(
        "transform", TRANSFORM,
        "INSERT INTO t VALUES (2, 'a')", setup=TABLE + SHAPE, hooks=SHAPED, events=[insert(row(2, "v2"))],
    ),
    case(
        "transform-drops", TRANSFORM_DROPS,
        "INSERT INTO t VALUES (2, 'none'), (1, 'a')",
        setup=TABLE + SHAPE, hooks=SHAPED, events=[insert(row(1, "v4"))],
    ),
    case(
        "transform-fails", TRANSFORM_FAILS,
        fails("22012", "INSERT INTO t VALUES (1, 'a'), (0, 'b')"), "INSERT INTO t VALUES (4, 'a')",
        setup=TABLE + SHAPE, hooks=({**SHAPED[0], "on_transform_error": "fail"},), events=[insert(row(4, "v1"))],
    ),
    case(
        "transform-fails-alone", TRANSFORM_FAILS,
        "INSERT INTO t VALUES (1, 'a'), (0, 'b')",
        setup=TABLE + SHAPE, hooks=SHAPED, events=[insert(row(1, "v4")), insert(row(0, "b"))],
    ),
    case(
        "events-insert", EVENTS,
        ALL_THREE, setup=ONE_ROW, hooks=({"events": ["INSERT"]},), events=[insert(row(2, "b"))],
    ),
    case(
        "events-update", EVENTS,
        ALL_THREE, setup=ONE_ROW, hooks=({"events": ["UPDATE"]},), events=[update(row(2, "b"), row(2, "x"))],
    ),
    case(
        "events-delete", EVENTS,
        ALL_THREE, setup=ONE_ROW, hooks=({"events": ["DELETE"]},), events=[delete(row(2, "x"))],
    ),
    case(
        "events-update-and-upsert", EVENTS,
        "INSERT INTO t VALUES (1, 'x'), (2, 'b') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
        setup=ONE_ROW, hooks=({"events": ["UPDATE"]},), events=[update(row(1, "a"), row(1, "x"))],
    ),
    case(
        "columns-listed", COLUMNS,
        "UPDATE t SET v = 'b'", "UPDATE t SET v = NULL", "UPDATE t SET v = 'c'",
        setup=WIDE, hooks=({"columns": ["v"]},),
        events=[
            update(wide(), wide(v="b")), update(wide(v="b"), wide(v=None)), update(wide(v=None), wide(v="c")),
        ],
    ),
    case(
        "columns-unlisted", COLUMNS,
        "UPDATE t SET w = 'y'; UPDATE t SET v = 'a', w = 'z'; UPDATE t SET n = 1, j = '[]'",
        setup=WIDE, hooks=({"columns": ["v"]},),
    ),
    case(
        "columns-of-equal-value", COLUMNS,
        "UPDATE t SET n = 43.0, w = 'y'; UPDATE t SET n = 44, w = 'y'",
        setup=WIDE, hooks=({"columns": ["n"]},), events=[update(wide(w="y"), wide(w="y", n=44))],
    ),
    case(
        "columns-json", COLUMNS,
        "UPDATE t SET v = 'b'; UPDATE t SET j = '{\"k\": 1}', v = 'c'",
        "UPDATE t SET j = NULL; UPDATE t SET j = '1'",
        setup=WIDE, hooks=({"columns": ["j"]},),
        events=[update(wide(v="c"), wide(v="c", j=None)), update(wide(v="c", j=None), wide(v="c", j=1))],
    ),
    case(
        "columns-with-and-without-equality", COLUMNS,
        "UPDATE t SET v = 'b'; UPDATE t SET n = 1; UPDATE t SET j = '[]'",
        setup=WIDE, hooks=({"columns": ["j", "n"]},),
        events=[update(wide(v="b"), wide(v="b", n=1)), update(wide(v="b", n=1), wide(v="b", n=1, j=[]))],
    ),
    case(
        "columns-large", COLUMNS,
        "UPDATE t SET id = 2; UPDATE t SET v = repeat('y', 50000)",
        setup=TABLE + "ALTER TABLE t ALTER v SET STORAGE EXTERNAL;"
        "INSERT INTO t VALUES (1, repeat('x', 50000))",
        hooks=({"columns": ["v"]},), events=[update(row(2, "x" * 50000), row(2, "y" * 50000))],
    ),
    case(
        "columns-changed-by-a-before-trigger", COLUMNS,
        "UPDATE t SET id = 2",
        setup=ONE_ROW + trigger("BEFORE UPDATE", "NEW.v := 'edited'; RETURN NEW;"),
        hooks=({"columns": ["v"]},), events=[update(row(1, "a"), row(2, "edited"))],
    ),
    case(
        "columns-generated", COLUMNS,
        "UPDATE t SET id = 2; UPDATE t SET n = 3",
        setup="CREATE TABLE t (id int, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);"
        "INSERT INTO t VALUES (1, 2)",
        hooks=({"columns": ["twice"]},),
        events=[update({"id": 2, "n": 2, "twice": 4}, {"id": 2, "n": 3, "twice": 6})],
    ),
    case(
        "columns-of-a-type-that-loses-its-equality", COLUMNS,
        "ALTER TYPE pair ADD ATTRIBUTE j json", "UPDATE t SET id = 2; UPDATE t SET p = ROW('l', '1')",
        setup="CREATE TYPE pair AS (k text); CREATE TABLE t (id int, p pair);"
        "INSERT INTO t VALUES (1, ROW('k'))",
        hooks=({"columns": ["p"]},),
        events=[update({"id": 2, "p": {"k": "k", "j": None}}, {"id": 2, "p": {"k": "l", "j": 1}})],
    ),
    case(
        "columns-renamed", RENAMED,
        "ALTER TABLE t RENAME v TO label; ALTER TABLE t RENAME w TO v",
        "UPDATE t SET v = 'y'; UPDATE t SET label = 'b'",
        setup=TABLE + "ALTER TABLE t ADD w text; INSERT INTO t VALUES (1, 'a', 'x')",
        hooks=({"columns": ["v"]},),
        events=[update({"id": 1, "label": "a", "v": "y"}, {"id": 1, "label": "b", "v": "y"})],
    ),
    case(
        "columns-and-insert", COLUMNS_ONLY_UPDATE,
        "INSERT INTO t (id) VALUES (2); DELETE FROM t",
        setup=ONE_ROW, hooks=({"columns": ["v"]},),
        events=[insert(row(2, None)), delete(row(1, "a")), delete(row(2, None))],
    ),
    case(
        "condition-new", CONDITION,
        "INSERT INTO t VALUES (5, 'a'), (50, 'b'); UPDATE t SET v = 'x'",
        hooks=({"events": ["INSERT", "UPDATE"], "condition": "NEW.id > 10 -- only\n"},),
        events=[insert(row(50, "b")), update(row(50, "b"), row(50, "x"))],
    ),
    case(
        "condition-old-and-new", CONDITION,
        "UPDATE t SET v = 'b'; UPDATE t SET v = 'done'; UPDATE t SET v = 'done', id = 2",
        setup=ONE_ROW, hooks=({"events": ["UPDATE"], "condition": "NEW.v = 'done' AND OLD.v <> 'done'"},),
        events=[update(row(1, "b"), row(1, "done"))],
    ),
    case(
        "condition-old", CONDITION,
        "DELETE FROM t",
        setup=TWO_ROWS, hooks=({"events": ["DELETE"], "condition": "OLD.v = 'b'"},),
        events=[delete(row(2, "b"))],
    ),
    case(
        "condition-null", CONDITION,
        "INSERT INTO t VALUES (1, NULL), (2, 'go')",
        hooks=({"events": ["INSERT"], "condition": "NEW.v = 'go'"},), events=[insert(row(2, "go"))],
    ),
    case(
        "condition-with-or", CONDITION,
        "UPDATE t SET v = v; UPDATE t SET v = 'b'",
        setup=ONE_ROW, hooks=({"events": ["UPDATE"], "condition": "false OR true"},),
        events=[update(row(1, "a"), row(1, "b"))],
    ),
    case(
        "condition-with-columns", CONDITION,
        "UPDATE t SET w = 'y'; UPDATE t SET v = 'b'; UPDATE t SET v = 'c', n = 50",
        setup=WIDE,
        hooks=({"events": ["UPDATE"], "columns": ["v"], "condition": "NEW.n = 50 AND NEW.v LIKE '%c%'"},),
        events=[update(wide(w="y", v="b"), wide(w="y", v="c", n=50))],
    ),
    case(
        "condition-of-renamed-column", RENAMED,
        "ALTER TABLE t RENAME v TO label", "INSERT INTO t VALUES (1, 'no'), (2, 'go')",
        hooks=({"events": ["INSERT"], "condition": "NEW.v = 'go'"},),
        events=[insert({"id": 2, "label": "go"})],
    ),
    case(
        "condition-that-raises", CONDITION_FAILS,
        fails("22012", "INSERT INTO t VALUES (0, 'a')"), "INSERT INTO t VALUES (1, 'a')",
        hooks=({"events": ["INSERT"], "condition": "1 / NEW.id = 1"},), events=[insert(row(1, "a"))],
    ),
    case(
        "condition-with-a-type-on-the-creator's-path", TYPES_PATH,
        "SET search_path = pg_catalog", "INSERT INTO app.t VALUES (1, 'sad'), (2, 'glad')",
        setup="CREATE SCHEMA other; CREATE TYPE other.mood AS ENUM ('sad', 'glad');"
        "CREATE TABLE t (id int, v other.mood); SET search_path = app, other, public",
        hooks=({"events": ["INSERT"], "condition": "NEW.v = 'glad'::mood"},),
        events=[insert(row(2, "glad"))],
    ),
    case(
        "operator-of-another-schema", TYPES_PATH,
        "SET search_path = other, pg_catalog, app", "INSERT INTO t VALUES (1, 'go'); UPDATE t SET v = 'no'",
        setup=TABLE + "CREATE SCHEMA other;"
        "CREATE FUNCTION other.never(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false';"
        "CREATE OPERATOR other.= (FUNCTION = other.never, LEFTARG = text, RIGHTARG = text);"
        "CREATE OPERATOR other.<> (FUNCTION = other.never, LEFTARG = text, RIGHTARG = text)",
        hooks=({"events": ["INSERT", "UPDATE"], "columns": ["v"], "condition": "NEW.v = ANY ('{go,no}')"},),
        events=[insert(row(1, "go")), update(row(1, "go"), row(1, "no"))],
    ),
    case(
        "column-that-is-needed", COLUMN_NEEDED,
        fails("2BP01", "ALTER TABLE t DROP COLUMN v"),
        fails("0A000", "ALTER TABLE t ALTER v TYPE varchar(9)"),
        fails("2BP01", "ALTER TABLE t DROP COLUMN id"),
        "UPDATE t SET v = 'b'",
        setup=ONE_ROW, hooks=({"events": ["UPDATE"], "columns": ["v"], "condition": "NEW.id = 1"},),
        events=[update(row(1, "a"), row(1, "b"))],
    ),
    case(
        "column-in-columns-dropped-by-force", COLUMN_FORCED,
        "ALTER TABLE t DROP COLUMN v CASCADE",
        "INSERT INTO t VALUES (2); UPDATE t SET id = 3 WHERE id = 2; DELETE FROM t WHERE id = 1",
        setup=ONE_ROW, hooks=({"columns": ["v"]},), events=[insert({"id": 2}), delete({"id": 1})],
    ),
    case(
        "column-in-condition-dropped-by-force", COLUMN_FORCED,
        "ALTER TABLE t DROP COLUMN v CASCADE", "INSERT INTO t VALUES (2); DELETE FROM t",
        setup=ONE_ROW, hooks=({"events": ["INSERT"], "condition": "NEW.v IS NULL"},),
    ),
]

ENABLE_ALWAYS = """
    DO $$DECLARE name text; BEGIN
        FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal LOOP
            EXECUTE format('ALTER TABLE t ENABLE ALWAYS TRIGGER %I', name);
        END LOOP;
    END$$
"""

REPLICA = ("a change with `session_replication_role = replica`, as logical replication makes", "none")
ORIGIN = ("a change with `session_replication_role` `origin` or `local`", "as the change")
ALWAYS = ("the same after `ALTER TABLE ... ENABLE ALWAYS TRIGGER` of the webhook's triggers", "as the change")
DISABLED_TRIGGER = ("a change after `ALTER TABLE ... DISABLE TRIGGER`", "none")
CAPTURE_OFF = ("a change with `pg_webhook.capture = off`", "none")
DISABLED = ("a change while the webhook is disabled (`enabled => false`)", "none, also not later")
PAUSED = ("a change while the webhook is paused", "as the change; sent after `webhook_resume`")
TWO_WEBHOOKS = ("a change of a table that several webhooks watch", "one for each webhook")
EARLIER = (
    "a change by a statement prepared, or in a transaction begun, before the table was watched",
    "as the change",
)
TWO_TABLES = (
    "a change of one of several tables that a webhook watches",
    "as `events`, `columns` and `condition` of that table say",
)
UNWATCHED = ("a change after `webhook_unwatch`", "none")
GONE = ("a change after `webhook_delete`", "none; what was not delivered is cancelled")

SWITCHES = [
    case("replica-role", REPLICA, "SET session_replication_role = replica", ALL_THREE, setup=ONE_ROW),
    case(
        "local-role", ORIGIN,
        "SET session_replication_role = local", "INSERT INTO t VALUES (1, 'a')",
        events=[insert(row(1, "a"))],
    ),
    case(
        "origin-role-again", ORIGIN,
        "SET session_replication_role = replica; INSERT INTO t VALUES (1, 'a')",
        "SET session_replication_role = origin; INSERT INTO t VALUES (2, 'b')",
        events=[insert(row(2, "b"))],
    ),
    case(
        "replica-role-and-always", ALWAYS,
        ENABLE_ALWAYS, "SET session_replication_role = replica", ALL_THREE,
        setup=ONE_ROW, events=[insert(row(2, "b")), update(row(2, "b"), row(2, "x")), delete(row(2, "x"))],
    ),
    case(
        "triggers-disabled", DISABLED_TRIGGER,
        "ALTER TABLE t DISABLE TRIGGER USER", ALL_THREE,
        "ALTER TABLE t ENABLE TRIGGER USER; ALTER TABLE t DISABLE TRIGGER ALL", ALL_THREE,
        setup=ONE_ROW,
    ),
    case(
        "triggers-enabled-again", DISABLED_TRIGGER,
        "ALTER TABLE t DISABLE TRIGGER USER; INSERT INTO t VALUES (1, 'a')",
        "ALTER TABLE t ENABLE TRIGGER USER; INSERT INTO t VALUES (2, 'b')",
        events=[insert(row(2, "b"))],
    ),
    case(
        "capture-off", CAPTURE_OFF,
        "SET pg_webhook.capture = off", ALL_THREE,
        "RESET pg_webhook.capture", "INSERT INTO t VALUES (3, 'c')",
        setup=ONE_ROW, events=[insert(row(3, "c"))],
    ),
    case(
        "capture-off-in-a-transaction", CAPTURE_OFF,
        "BEGIN; INSERT INTO t VALUES (1, 'a'); SET LOCAL pg_webhook.capture = off;"
        "INSERT INTO t VALUES (2, 'b'); COMMIT",
        "INSERT INTO t VALUES (3, 'c')",
        events=[insert(row(1, "a")), insert(row(3, "c"))],
    ),
    case(
        "capture-off-up-to-a-savepoint", CAPTURE_OFF,
        "BEGIN; SAVEPOINT s; SET LOCAL pg_webhook.capture = off; ROLLBACK TO s;"
        "INSERT INTO t VALUES (1, 'a'); COMMIT",
        events=[insert(row(1, "a"))],
    ),
    case(
        "disabled-at-creation", DISABLED,
        "INSERT INTO t VALUES (1, 'a')",
        "SELECT webhook_update('hook', enabled => true)",
        "INSERT INTO t VALUES (2, 'b')",
        hooks=({"enabled": False},), events=[insert(row(2, "b"))],
    ),
    case(
        "disabled-by-another-session", DISABLED,
        "INSERT INTO t VALUES (1, 'a')",
        elsewhere("SELECT webhook_update('hook', enabled => false)"),
        "INSERT INTO t VALUES (2, 'b')",
        elsewhere("SELECT webhook_update('hook', enabled => true)"),
        "INSERT INTO t VALUES (3, 'c')",
        events=[insert(row(1, "a")), insert(row(3, "c"))],
    ),
    case(
        "disabled-during-a-repeatable-read-transaction", DISABLED,
        "INSERT INTO t VALUES (1, 'a')",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t",
        elsewhere("SELECT webhook_update('hook', enabled => false)"),
        "INSERT INTO t VALUES (2, 'b'); COMMIT",
        elsewhere("SELECT webhook_update('hook', enabled => true)"),
        "INSERT INTO t VALUES (3, 'c')",
        events=[insert(row(1, "a")), insert(row(3, "c"))],
    ),
    case(
        "two-webhooks", TWO_WEBHOOKS,
        "INSERT INTO t VALUES (1, 'a'); DELETE FROM t",
        hooks=({}, {"name": "second"}, {"name": "third", "events": ["DELETE"]}),
        events=[
            insert(row(1, "a")), insert(row(1, "a"), hook="second"),
            delete(row(1, "a")), delete(row(1, "a"), hook="second"), delete(row(1, "a"), hook="third"),
        ],
    ),
    case(
        "prepared-before-watched", EARLIER,
        "PREPARE p AS INSERT INTO u VALUES ($1, 'a'); EXECUTE p (1)",
        elsewhere("SELECT webhook_watch('hook', 'u')"),
        "EXECUTE p (2)",
        setup=TABLE + SECOND_TABLE, events=[insert(row(2, "a"), table="u")],
    ),
    case(
        "begun-before-watched", EARLIER,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO t VALUES (1, 'a')",
        elsewhere("SELECT webhook_watch('hook', 'u')"),
        "INSERT INTO u VALUES (1, 'a'); COMMIT",
        setup=TABLE + SECOND_TABLE, events=[insert(row(1, "a")), insert(row(1, "a"), table="u")],
    ),
    case(
        "two-tables", TWO_TABLES,
        "SELECT webhook_watch('hook', 'u', '{UPDATE,DELETE}', '{v}', 'OLD.id < 10')",
        "INSERT INTO t VALUES (1, 'a'); INSERT INTO u VALUES (1, 'a'), (11, 'a')",
        "UPDATE t SET v = 'b'; UPDATE u SET v = 'b'; UPDATE u SET id = id + 1; DELETE FROM t; DELETE FROM u",
        setup=TABLE + SECOND_TABLE, hooks=({"events": ["INSERT"]},),
        events=[
            insert(row(1, "a")), update(row(1, "a"), row(1, "b"), table="u"), delete(row(2, "b"), table="u"),
        ],
    ),
    case(
        "unwatched", UNWATCHED,
        "SELECT webhook_watch('hook', 'u'); INSERT INTO t VALUES (1, 'a'); INSERT INTO u VALUES (1, 'a')",
        elsewhere("SELECT webhook_unwatch('hook', 't')"),
        "INSERT INTO t VALUES (2, 'b'); INSERT INTO u VALUES (2, 'b')",
        setup=TABLE + SECOND_TABLE,
        events=[insert(row(1, "a")), insert(row(1, "a"), table="u"), insert(row(2, "b"), table="u")],
    ),
    case(
        "deleted", GONE,
        "INSERT INTO t VALUES (1, 'a')",
        elsewhere("SELECT webhook_delete('hook')"),
        "INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'x'; DELETE FROM t",
        events=[insert(row(1, "a"))],
    ),
]

TOO_LARGE = (
    "a change whose event would exceed `pg_webhook.max_payload_bytes`",
    "as the change, with the primary key only (`{}` without one) and `\"truncated\": true`",
)
SMALL_LIMIT = "SET pg_webhook.max_payload_bytes = 1024"
LARGE = "repeat('x', 2000)"

LARGE_ROWS = [
    case(
        "large-insert", TOO_LARGE,
        SMALL_LIMIT, f"INSERT INTO t VALUES (1, {LARGE}), (2, 'small')",
        events=[insert({"id": 1}, truncated=True), insert(row(2, "small"))],
    ),
    case(
        "large-before-update", TOO_LARGE,
        SMALL_LIMIT, "UPDATE t SET v = 'x'",
        setup=TABLE + f"INSERT INTO t VALUES (1, {LARGE})",
        events=[update({"id": 1}, {"id": 1}, truncated=True)],
    ),
    case(
        "large-update-of-key", TOO_LARGE,
        SMALL_LIMIT, "UPDATE t SET id = 2",
        setup=TABLE + f"INSERT INTO t VALUES (1, {LARGE})",
        events=[update({"id": 1}, {"id": 2}, truncated=True)],
    ),
    case(
        "large-delete", TOO_LARGE,
        SMALL_LIMIT, "DELETE FROM t",
        setup=TABLE + f"INSERT INTO t VALUES (1, {LARGE})", events=[delete({"id": 1}, truncated=True)],
    ),
    case(
        "large-with-two-key-columns", TOO_LARGE,
        SMALL_LIMIT, f"INSERT INTO t VALUES ({LARGE}, 2, 'a')",
        setup="CREATE TABLE t (v text, gone int, b int, a text, PRIMARY KEY (a, b));"
        "ALTER TABLE t DROP COLUMN gone",
        events=[insert({"a": "a", "b": 2}, truncated=True)],
    ),
    case(
        "large-with-columns-included-in-the-key", TOO_LARGE,
        SMALL_LIMIT, f"INSERT INTO t VALUES (1, {LARGE}, 'included')",
        setup="CREATE TABLE t (id int, v text, w text, PRIMARY KEY (id) INCLUDE (w))",
        events=[insert({"id": 1}, truncated=True)],
    ),
    case(
        "large-without-key", TOO_LARGE,
        SMALL_LIMIT, f"INSERT INTO t VALUES (1, {LARGE})",
        setup="CREATE TABLE t (id int NOT NULL UNIQUE, v text)", events=[insert({}, truncated=True)],
    ),
    case(
        "large-while-the-key-comes-and-goes", TOO_LARGE,
        SMALL_LIMIT, f"INSERT INTO t VALUES (1, {LARGE})",
        "ALTER TABLE t ADD PRIMARY KEY (id)", f"INSERT INTO t VALUES (2, {LARGE})",
        "ALTER TABLE t DROP CONSTRAINT t_pkey", f"INSERT INTO t VALUES (3, {LARGE})",
        setup="CREATE TABLE t (id int, v text)",
        events=[insert({}, truncated=True), insert({"id": 2}, truncated=True), insert({}, truncated=True)],
    ),
    case(
        "large-in-a-partition", TOO_LARGE,
        SMALL_LIMIT, f"INSERT INTO t VALUES (1, {LARGE})", "UPDATE t SET v = v || '!'",
        setup="CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE odd (v text, id int NOT NULL);"
        "ALTER TABLE t ATTACH PARTITION odd FOR VALUES FROM (0) TO (9)",
        events=[insert({"id": 1}, truncated=True), update({"id": 1}, {"id": 1}, truncated=True)],
    ),
]

CASES = (
    INSERTS + UPDATES + DELETES + UPSERTS + FOREIGN_KEYS + PARTITIONS + TRANSACTIONS + DEFINITIONS + FILTERS
    + SWITCHES + LARGE_ROWS
)

DOCUMENTED = [case.doc for case in CASES]


def documents(statement, events):
    """Name the row of the page that a test outside the table stands for."""
    DOCUMENTED.append((statement, events))
    return lambda test: test


@pytest.fixture(scope="module")
def database(cluster):
    """One database for all cases, in the hands of an ordinary role; its tables are looked for in schema `app`."""
    database = Database(cluster, "capture").hand_over()
    database.judge.run("ALTER DATABASE capture SET search_path = app, public")
    # A writer without any right on pg_webhook, which the owner of the tables may become.
    database.judge.run(f"CREATE ROLE capture_writer; GRANT capture_writer TO {database.owner}")
    # What else a case needs that an ordinary role may be given.
    database.judge.run(f"GRANT SET ON PARAMETER session_replication_role, pg_webhook.max_payload_bytes TO {database.owner}")
    # Compiling the view's query would take longer than all of the rest.
    database.run("SET jit = off")
    database.run("SET lock_timeout = '10s'")
    yield database
    database.drop()
    with cluster.connect() as admin:
        admin.execute("DROP ROLE capture_writer")


@pytest.fixture(scope="module")
def writer_session(database):
    with database.connect(prepare_threshold=None) as connection:
        yield connection


@pytest.fixture
def db(database):
    """The database, with an empty schema `app` and no webhook."""
    database.run("SET search_path = app, public")
    database.run("CREATE SCHEMA app")
    yield database
    for (name,) in database.rows("SELECT name FROM webhook.webhooks"):
        database.run("SELECT webhook_delete(%s)", name)
    schemas = database.judge.rows(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN"
        " ('information_schema', 'public', 'webhook')"
    )
    for (name,) in schemas:
        database.judge.run(f'DROP SCHEMA "{name}" CASCADE')


@pytest.fixture
def writer(db, writer_session):
    """The session that changes rows; it keeps what it caches from test to test."""
    yield writer_session
    writer_session.rollback()
    writer_session.execute("DISCARD ALL")


@pytest.fixture
def log(db):
    """Reads the events of this test."""
    return Log(db)


class Log:
    def __init__(self, db):
        self._db = db
        self._before = db.value("SELECT coalesce(max(id), 0) FROM webhook.deliveries")

    def payloads(self):
        """The bodies, as they will be sent."""
        rows = self._db.rows(
            "SELECT payload FROM webhook.deliveries WHERE id > %s ORDER BY id", self._before
        )
        return [payload for (payload,) in rows]

    def events(self):
        rows = self._db.rows(
            "SELECT webhook, event_id, event_type, schema_name, table_name, payload"
            " FROM webhook.deliveries WHERE id > %s ORDER BY id",
            self._before,
        )
        return [self._event(*columns) for columns in rows]

    def records(self):
        """The `record` of each event, as text."""
        return [re.search('"record":(.*),"old_record":', p, re.DOTALL)[1] for p in self.payloads()]

    @staticmethod
    def _event(hook, event_id, event_type, schema, table, payload):
        body = json.loads(payload)
        assert (body["id"], body["event"]) == (event_id, event_type)
        assert (body["schema"], body["table"]) == (schema, table)
        return Event(
            hook, event_type, schema, table, body["record"], body["old_record"], body.get("truncated", False)
        )


def watch(db, name="hook", table_name="t", **settings):
    """A paused webhook."""
    db.create(name, URL, table_name=table_name, **settings)
    db.run("SELECT webhook_pause(%s)", name)


def ordered(events):
    return sorted(events, key=lambda event: json.dumps(event, sort_keys=True))


@pytest.mark.parametrize("case", [case for case in CASES if case.since <= MAJOR], ids=lambda case: case.name)
def test_case(case, db, writer, log):
    db.run(case.setup)
    for hook in case.hooks:
        watch(db, **hook)
    sessions = Sessions(writer, db.connection, db.judge.connection)
    for step in case.run:
        if callable(step):
            step(sessions)
        else:
            writer.execute(step)
    assert ordered(log.events()) == ordered(case.events)


def test_case_names_are_unique():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


def test_the_page_has_the_rows_of_the_cases_and_no_other():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    rows = [row for row in rows if row != ("statement", "events")]
    assert len(rows) == len(set(rows))
    assert set(rows) == set(DOCUMENTED)


@documents(*TWO_PHASE)
def test_a_prepared_transaction_has_no_event_before_its_commit(db, writer, log):
    db.run(TABLE)
    watch(db)
    writer.execute("BEGIN; INSERT INTO t VALUES (1, 'a'); PREPARE TRANSACTION 'capture'")
    assert log.events() == []
    writer.execute("COMMIT PREPARED 'capture'")
    assert log.events() == [insert(row(1, "a"))]


@documents(*ISOLATED)
def test_a_transaction_that_cannot_be_serialised_has_no_event(db, writer, log):
    db.run(TABLE)
    watch(db)
    begin = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t"
    writer.execute(begin)
    with db.connect() as other:
        other.execute(begin)
        writer.execute("INSERT INTO t VALUES (1, 'first')")
        other.execute("INSERT INTO t VALUES (2, 'second')")
        writer.execute("COMMIT")
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.execute("COMMIT")
    assert log.events() == [insert(row(1, "first"))]


@documents("a change by a role without any right on pg_webhook", "as the change")
def test_a_writer_needs_no_right_on_the_log(db, writer, log):
    db.run(TABLE)
    db.run("GRANT USAGE ON SCHEMA app TO capture_writer; GRANT ALL ON t TO capture_writer")
    watch(db)
    writer.execute("SET ROLE capture_writer")
    writer.execute(ALL_THREE)
    for private in "event", "event_0", "pending", "webhook", "deliveries":
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            writer.execute(f"SELECT FROM webhook.{private}")
    writer.execute("RESET ROLE")
    assert log.events() == [
        insert(row(2, "b")), update(row(2, "b"), row(2, "x")), delete(row(2, "x")),
    ]


@documents("a change through a watched foreign table", "as the change")
@documents("a change behind a foreign table, made at its source", "none")
def test_a_foreign_table(db, writer, log):
    folder, port = db.cluster.folder, db.cluster.port
    db.run(TABLE.replace(" t ", " source "))
    # Without a password only a superuser lets a role through to another server.
    db.judge.run(f"CREATE EXTENSION postgres_fdw SCHEMA app; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {db.owner}")
    db.run(f"CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw"
           f" OPTIONS (host '{folder}', port '{port}', dbname '{db.name}')")
    db.judge.run(f"CREATE USER MAPPING FOR {db.owner} SERVER loop OPTIONS (user '{db.owner}', password_required 'false')")
    db.run("CREATE FOREIGN TABLE t (id int, v text) SERVER loop"
           " OPTIONS (schema_name 'app', table_name 'source')")
    watch(db)
    writer.execute(ALL_THREE)
    writer.execute("INSERT INTO source VALUES (1, 'a')")
    writer.execute("UPDATE t SET v = v")
    assert log.events() == [
        insert(row(2, "b")), update(row(2, "b"), row(2, "x")), delete(row(2, "x")),
    ]


@documents(*PAUSED)
def test_a_paused_webhook_sends_on_resume_what_it_kept(db, writer, log, receiver):
    db.run(TABLE)
    db.create("hook", receiver.url("/"), table_name="t")
    db.run("SELECT webhook_pause('hook')")
    writer.execute("INSERT INTO t VALUES (1, 'a')")
    assert log.events() == [insert(row(1, "a"))]
    assert receiver.got() == []
    db.run("SELECT webhook_resume('hook')")
    assert [request.body.decode() for request in receiver.wait(1)] == log.payloads()


@documents(*GONE)
def test_deleting_a_webhook_cancels_its_events(db, writer):
    db.run(TABLE)
    watch(db, "short-lived")
    writer.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    status = "SELECT status FROM webhook.deliveries WHERE webhook = 'short-lived'"
    assert db.rows(status) == [("pending",), ("pending",)]
    db.run("SELECT webhook_delete('short-lived')")
    writer.execute("INSERT INTO t VALUES (3, 'c')")
    assert db.rows(status) == [("cancelled",), ("cancelled",)]


@documents(*TOO_LARGE)
def test_the_limit_is_the_size_of_the_body(db, writer, log):
    db.run(TABLE)
    watch(db)
    writer.execute(SMALL_LIMIT)
    writer.execute("INSERT INTO t SELECT 1000 + i, repeat('x', 700 + i) FROM generate_series(0, 299) AS i")
    truncated = set()
    for i, payload in enumerate(log.payloads()):
        part, rest = f'{{"id":{1000 + i}}}', ',"truncated":true'
        whole = payload.replace(part, f'{part[:-1]},"v":"{"x" * (700 + i)}"}}').replace(rest, "")
        assert len(payload) <= 1024
        assert (rest in payload) == (len(whole) > 1024)
        truncated.add(rest in payload)
    assert truncated == {False, True}


@documents(*TOO_LARGE)
def test_a_row_of_20_megabytes(db, writer, log):
    db.run(TABLE)
    watch(db)
    writer.execute("INSERT INTO t VALUES (1, repeat('x', 20 << 20)), (2, repeat('y', 2 << 20))")
    writer.execute("UPDATE t SET id = id + 10")
    assert db.value("SELECT sum(length(v)) FROM t") == 22 << 20
    assert log.events() == [
        insert({"id": 1}, truncated=True), insert({"id": 2}, truncated=True),
        update({"id": 1}, {"id": 11}, truncated=True), update({"id": 2}, {"id": 12}, truncated=True),
    ]


@documents(*TOO_LARGE)
def test_a_small_row_with_more_text_than_a_string_can_hold(db, writer, log):
    db.run("CREATE TABLE t (id int PRIMARY KEY, n numeric[])")
    watch(db)
    writer.execute("INSERT INTO t SELECT 1, array_agg(1e131071) FROM generate_series(1, 9000)")
    assert log.events() == [insert({"id": 1}, truncated=True)]


VALUES = (
    "a change of a row with any values, whatever `TimeZone`, `DateStyle`, `IntervalStyle`, `bytea_output` and"
    " `extra_float_digits` are",
    "as the change, with the same bytes for the same row",
)

# A type, a literal of it, and the bytes that stand for it in the record.
SPECIAL_VALUES = [
    ("numeric", "'NaN'", '"NaN"'),
    ("numeric", "'-Infinity'", '"-Infinity"'),
    ("numeric", "123456789012345678901234567890.000100", "123456789012345678901234567890.000100"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    ("float8", "'NaN'", '"NaN"'),
    ("float8", "'Infinity'", '"Infinity"'),
    ("float8", "0.1::float8 + 0.2::float8", "0.30000000000000004"),
    ("float8", "'-0'", "-0"),
    ("float4", "1.1", "1.1"),
    ("boolean", "true", "true"),
    ("timestamptz", "'infinity'", '"infinity"'),
    ("timestamp", "'-infinity'", '"-infinity"'),
    ("date", "'infinity'", '"infinity"'),
    ("date", "'0044-03-15 BC'", '"0044-03-15 BC"'),
    ("timestamptz", "'2024-02-29 12:34:56.789012+05:30'", '"2024-02-29T07:04:56.789012+00:00"'),
    ("timestamptz", "'0044-03-15 12:00+00 BC'", '"0044-03-15T12:00:00+00:00 BC"'),
    ("timestamp", "'2024-02-29 23:59:60'", '"2024-03-01T00:00:00"'),
    ("timetz", "'12:00+02'", '"12:00:00+02"'),
    ("interval", "'1 year 2 mons -3 days 04:05:06.7'", '"1 year 2 mons -3 days +04:05:06.7"'),
    ("bytea", "'\\x00ff5c'", r'"\\x00ff5c"'),
    ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'),
    ("int[]", "'{{1,NULL},{3,4}}'", "[[1,null],[3,4]]"),
    ("int[]", "'[5:6]={1,2}'", "[1,2]"),
    ("timestamptz[]", "'{2024-01-01 00:00+01}'", '["2023-12-31T23:00:00+00:00"]'),
    ("int4range", "'[1,5]'", '"[1,6)"'),
    (
        "tstzrange", "'[2024-01-01 00:00+01,infinity)'",
        r'"[\"2023-12-31 23:00:00+00\",infinity)"',
    ),
    ("datemultirange", "'{[2024-01-02,2024-01-03)}'", '"{[2024-01-02,2024-01-03)}"'),
    (
        "moment", "ROW('2024-01-01 00:00+01', '1 day', '\\x01', 0.1)",
        r'{"at":"2023-12-31T23:00:00+00:00","for":"1 day","raw":"\\x01","f":0.1}',
    ),
    ("moment", "ROW(NULL, NULL, NULL, NULL)", '{"at":null,"for":null,"raw":null,"f":null}'),
    ("positive", "7", "7"),
    ("mood", "'it''s \"fine\"'", '"it\'s \\"fine\\""'),
    ("jsonb", """'{"b": 1.0, "a": [null, "\\u00e9"]}'""", '{"a": [null, "é"], "b": 1.0}'),
    ("json", """'{"k": 1, "k" :2.50}'""", '{"k": 1, "k" :2.50}'),
    ("json", """'"\\u0000\\ud83d"'""", r'"\u0000\ud83d"'),
    ("text", "E'\\b\\f\\n\\r\\t\\x01\\x1f\\x7f\"\\\\/'", '"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\"\\\\/"'),
    ("text", "U&'\\+01F600 \\2028 \\FFFE'", '"\U0001F600 \u2028 \uFFFE"'),
    ("text", "repeat('é', 3)", '"ééé"'),
    ("char(3)", "'a'", '"a  "'),
    ('"char"', "'È'", r'"\\303"'),
    ("xml", "'<a b=\"1\"/>'", r'"<a b=\"1\"/>"'),
    ("point", "'(0.1,2)'", '"(0.1,2)"'),
    ("inet", "'10.0.0.1/8'", '"10.0.0.1/8"'),
    ("bit(4)", "B'1010'", '"1010"'),
    ("tsvector", "'a:1 b'", "\"'a':1 'b'\""),
]

SESSIONS = [
    "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'",
    "SET timezone = '<odd>+11'; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'",
    "SET datestyle = 'Postgres, YMD'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'escape'",
    "SET intervalstyle = 'postgres_verbose'; SET extra_float_digits = -15",
    "SET extra_float_digits = 3; SET bytea_output = 'escape'; SET timezone = 'America/St_Johns'",
]


@pytest.fixture
def special_values(db):
    db.run("""
        CREATE TYPE moment AS (at timestamptz, "for" interval, raw bytea, f float8);
        CREATE DOMAIN positive AS int CHECK (VALUE > 0);
        CREATE TYPE mood AS ENUM ('it''s "fine"');
    """)
    columns = ", ".join(f"c{i} {type}" for i, (type, _, _) in enumerate(SPECIAL_VALUES))
    db.run(f"CREATE TABLE t ({columns})")
    watch(db)
    values = ", ".join(literal for _, literal, _ in SPECIAL_VALUES)
    record = ",".join(f'"c{i}":{text}' for i, (_, _, text) in enumerate(SPECIAL_VALUES))
    return f"INSERT INTO t VALUES ({values})", f"{{{record}}}"


@documents(*VALUES)
def test_special_values(special_values, writer, log):
    statement, record = special_values
    writer.execute(statement)
    assert log.records() == [record]
    json.loads(log.payloads()[0])


# What the session itself makes of such values.
OUTPUT = "SELECT ROW(timestamptz 'epoch', interval '1 day', bytea '\\x01', 0.1::float8)::text"


@documents(*VALUES)
def test_the_record_does_not_depend_on_the_session(special_values, writer, log):
    statement, record = special_values
    writer.execute(statement)
    for settings in SESSIONS:
        writer.execute(settings)
        before = writer.execute(OUTPUT).fetchone()
        writer.execute("INSERT INTO t SELECT * FROM t LIMIT 1")
        assert writer.execute(OUTPUT).fetchone() == before
    assert log.records() == [record] * (1 + len(SESSIONS))


@documents(
    "a change of a row with a type whose own cast to `json` raises an error",
    "as the change, with that column as text",
)
def test_an_error_while_the_row_is_rendered(db, writer, log):
    db.run("""
        CREATE TYPE level AS ENUM ('low', 'high');
        CREATE FUNCTION to_json(level) RETURNS json LANGUAGE plpgsql AS
            $$BEGIN IF $1 = 'high' THEN RAISE EXCEPTION 'too high'; END IF; RETURN '0'; END$$;
        CREATE CAST (level AS json) WITH FUNCTION to_json(level);
        CREATE TABLE t (id int, v level);
    """)
    watch(db)
    writer.execute(SESSIONS[0])
    before = writer.execute(OUTPUT).fetchone()
    writer.execute("INSERT INTO t VALUES (1, 'low')")
    writer.execute("INSERT INTO t VALUES (2, 'high')")
    assert writer.execute(OUTPUT).fetchone() == before
    assert log.events() == [insert(row(1, 0)), insert(row(2, "high"))]


# What webhook_create refuses, and the SQL that makes it.
REFUSED = {
    "temporary table": ("temporary", "CREATE TEMPORARY TABLE temporary (id int)"),
    "view": ("v", "CREATE VIEW v AS SELECT 1 AS id"),
    "materialized view": ("m", "CREATE MATERIALIZED VIEW m AS SELECT 1 AS id"),
    "sequence": ("s", "CREATE SEQUENCE s"),
    "index": ("t_pkey", TABLE),
    "partitioned index": ("t_pkey", PARTITIONED),
    "composite type": ("c", "CREATE TYPE c AS (id int)"),
    "system catalog": ("pg_class", ""),
    "view of the catalog": ("pg_stat_activity", ""),
    "information schema": ("information_schema.sql_features", ""),
    "table of pg_webhook": ("webhook.event", ""),
    "partition of a table of pg_webhook": ("webhook.event_0", ""),
    "view of pg_webhook": ("webhook.deliveries", ""),
    "table of another extension": (
        "member", "CREATE EXTENSION hstore SCHEMA app; CREATE TABLE member (id int);"
        "ALTER EXTENSION hstore ADD TABLE member",
    ),
}


@documents(
    "`webhook_create` on a view, materialized view, sequence, index, composite type, temporary table, system"
    " catalog, or table of an extension",
    "none: refused with SQLSTATE 42809",
)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_watched_is_refused(kind, db):
    name, setup = REFUSED[kind]
    if setup:
        db.run(setup)
    with pytest.raises(psycopg.errors.WrongObjectType):
        db.create("hook", URL, table_name=name)
    assert db.value("SELECT count(*) FROM webhook.webhooks") == 0
    db.run("DISCARD TEMP")
