"""Random changes by several sessions: the events of each transaction are what logical decoding says of it.

The number of changes is PGW_CHANGES, and PGW_SEED repeats the statements of a run (not how they interleave).
"""

import itertools
import json
import os
import random
import re
import secrets
import threading
from decimal import Decimal

import psycopg
import pytest

CHANGES = int(os.environ.get("PGW_CHANGES", 30_000))
SEED = os.environ.get("PGW_SEED") or secrets.token_hex(4)
# So many changes are made, and then compared while nobody writes: neither side is ever held as a whole.
ROUND = 25_000
PART = 20_000
WRITERS = 4
WIDTHS = [1, 1, 1, 4, 15, 60, 150]
KEYS = 1500

TYPES = {
    "id": "integer", "v": "text", "n": "numeric", "b": "boolean", "at": "timestamp with time zone",
    "raw": "bytea", "j": "jsonb", "f": "double precision",
}
VALUES = ", ".join(list(TYPES)[1:])
TABLES = ["whole", "keyed", "loose", "split"]

# Values are few, so that an UPDATE often changes nothing, or only the form of a value.
SCHEMA = r"""
    CREATE FUNCTION made(id int, salt int) RETURNS TABLE (v text, n numeric, b bool, at timestamptz, raw bytea,
        j jsonb, f float8) LANGUAGE sql IMMUTABLE AS $made$
        SELECT
            CASE WHEN h % 199 = 0 THEN (SELECT string_agg(md5(h::text || i), '') FROM generate_series(1, 120) AS i)
                 ELSE (ARRAY['', 'a', 'A', E'\n', '''', ''' ''', 'null', '"\', 'é😀', E'\x01\u2028', NULL,
                             ' v[text]:null', 'unchanged-toast-datum', ' new-tuple: id[integer]:1'])[1 + h % 14] END,
            (ARRAY['0', '0.0', '43', '43.00', '-1e30', '1e-20', 'NaN', 'Infinity', NULL])[1 + h / 3 % 9]::numeric,
            (ARRAY[true, false, NULL])[1 + h / 5 % 3],
            (ARRAY['infinity', '0044-03-15 12:00+00 BC', '2024-03-31 01:30:00.000001+00', NULL]
                )[1 + h / 7 % 4]::timestamptz,
            (ARRAY['\x', '\x00ff27', '\x5c', NULL])[1 + h / 11 % 4]::bytea,
            (ARRAY['null', '{"k": 1}', '{"k": 1.0}', '["''", {"": "\""}]', NULL])[1 + h / 13 % 5]::jsonb,
            (ARRAY['0', '-0', 'NaN', '-Infinity', '0.1', '5e-324', NULL])[1 + h / 17 % 7]::float8
        FROM (SELECT abs(hashint8extended(id, salt) % 1000000)::int AS h) AS hash
    $made$;

    CREATE TABLE whole (id int PRIMARY KEY, v text, n numeric, b bool, at timestamptz, raw bytea, j jsonb, f float8);
    ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE keyed (LIKE whole INCLUDING INDEXES);
    CREATE TABLE loose (LIKE whole);
    ALTER TABLE loose REPLICA IDENTITY FULL, ALTER id DROP NOT NULL;
    CREATE INDEX ON loose (id);

    CREATE TABLE split (LIKE whole INCLUDING INDEXES) PARTITION BY RANGE (id);
    CREATE TABLE below PARTITION OF split FOR VALUES FROM (MINVALUE) TO (-400);
    CREATE TABLE middle PARTITION OF split FOR VALUES FROM (-400) TO (400);
    CREATE TABLE above PARTITION OF split FOR VALUES FROM (400) TO (MAXVALUE) PARTITION BY RANGE (id);
    CREATE TABLE near PARTITION OF above FOR VALUES FROM (400) TO (900);
    CREATE TABLE far (j jsonb, gone int, raw bytea, id int NOT NULL, f float8, at timestamptz, n numeric, b bool,
        v text);
    ALTER TABLE far DROP COLUMN gone;
    ALTER TABLE above ATTACH PARTITION far FOR VALUES FROM (900) TO (MAXVALUE);
    ALTER TABLE far REPLICA IDENTITY FULL;
    ALTER TABLE middle REPLICA IDENTITY FULL;
"""

SESSIONS = [
    "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'",
    "SET bytea_output = 'escape'; SET extra_float_digits = -15",
    "SET default_transaction_isolation = 'repeatable read'; SET datestyle = 'SQL, DMY'",
]

# What the others cause; it ends a transaction.
EXPECTED = psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation


class Statements:
    """Makes SQL: statements, blocks of them with savepoints, and transactions."""

    def __init__(self, choose):
        self.choose = choose

    def statement(self):
        table, other = self.choose.sample(TABLES, 2)
        first = self.choose.randint(-KEYS, KEYS)
        last = first + self.choose.choice(WIDTHS)
        salt = self.choose.getrandbits(20)
        made = f"(SELECT g AS id, x.* FROM generate_series({first}, {last}) AS g, made(g, {salt}) AS x)"
        here = f"id BETWEEN {first} AND {last}"
        free = f"NOT EXISTS (SELECT FROM {table} AS u WHERE u.id = -{table}.id)"
        changes = [
            f"INSERT INTO {table} SELECT * FROM {made} AS m ON CONFLICT DO NOTHING",
            f"INSERT INTO {table} SELECT * FROM {made} AS m ON CONFLICT DO NOTHING",
            f"UPDATE {table} SET ({VALUES}) = ROW({self.of('m')}) FROM {made} AS m WHERE m.id = {table}.id",
            f"UPDATE {table} SET v = m.v FROM {made} AS m WHERE m.id = {table}.id",
            f"UPDATE {table} SET n = n + 1 WHERE {here}",
            f"UPDATE {table} SET v = v, id = id WHERE {here}",
            f"UPDATE {table} SET n = n + 0.000, f = f * 1 WHERE {here}",
            f"UPDATE {table} SET v = CASE id % 3 WHEN 0 THEN v END WHERE {here}",
            f"UPDATE {table} SET id = -id WHERE {here} AND {free}",
            f"UPDATE {table} SET id = -id, v = 'moved' WHERE {here} AND {free}",
            f"DELETE FROM {table} WHERE {here}",
            f"DELETE FROM {table} WHERE {here} AND b",
            f"WITH gone AS (DELETE FROM {table} WHERE {here} RETURNING id, {VALUES})"
            f" INSERT INTO {other} (id, {VALUES}) SELECT * FROM gone ON CONFLICT DO NOTHING",
            f"MERGE INTO {table} USING {made} AS m ON m.id = {table}.id WHEN MATCHED AND m.b THEN DELETE"
            f" WHEN MATCHED AND m.n > 0 THEN DO NOTHING WHEN MATCHED THEN UPDATE SET v = m.v, f = m.f"
            f" WHEN NOT MATCHED THEN INSERT (id, {VALUES}) VALUES (m.id, {self.of('m')})",
        ]
        if table != "loose":
            changes.append(
                f"INSERT INTO {table} SELECT * FROM {made} AS m"
                f" ON CONFLICT (id) DO UPDATE SET n = excluded.n, j = excluded.j WHERE {table}.b"
            )
        return self.choose.choice(changes)

    @staticmethod
    def of(alias):
        return re.sub(r"(\w+)", rf"{alias}.\1", VALUES)

    def caught(self):
        """A block in PL/pgSQL that is undone, once or in a loop of many subtransactions."""
        times = self.choose.choice([1, 1, 1, 100])
        return (
            f"DO $$ BEGIN FOR turn IN 3..{times + 2} LOOP BEGIN {self.statement()}; PERFORM 1 / (turn % 3);"
            f" EXCEPTION WHEN division_by_zero THEN {self.statement()}; END; END LOOP; END $$"
        )

    def block(self, depth=0):
        statements = []
        for _ in range(self.choose.choice([1, 1, 2, 4])):
            chance = self.choose.random()
            if chance < 0.25 and depth < 4:
                name = f"s{depth}"
                kept, undone = f"RELEASE {name}", f"ROLLBACK TO {name}"
                end = self.choose.choice([kept, kept, undone, f"{undone}; {kept}"])
                statements += [f"SAVEPOINT {name}", *self.block(depth + 1), end]
            elif chance < 0.32:
                statements.append(self.caught())
            else:
                statements.append(self.statement())
        return statements

    def transaction(self, name):
        """A transaction, what ends it, and whether that keeps it."""
        ends = {
            ("COMMIT", None): 60, ("ROLLBACK", None): 25,
            (f"PREPARE TRANSACTION '{name}'", f"COMMIT PREPARED '{name}'"): 10,
            (f"PREPARE TRANSACTION '{name}'", f"ROLLBACK PREPARED '{name}'"): 5,
        }
        (end, after), = self.choose.choices(list(ends), ends.values())
        return "; ".join(["BEGIN", *self.block(), end]), after, "COMMIT" in (after or end)


def write(session, statements, name, count, failures):
    """Run transactions until they have changed about `count` rows."""
    try:
        turn = 0
        while count > 0:
            turn += 1
            transaction, after, kept = statements.transaction(f"{name}-{turn}")
            try:
                cursor = session.execute(transaction)
            except EXPECTED:
                session.rollback()
                continue
            while kept and cursor.nextset():
                count -= max(cursor.rowcount, 0)
            if after:
                session.execute(after)
    except Exception as error:  # in a thread: to be reported by the test
        failures.append(error)


def number(text):
    return ("number", text)


def parsed(text):
    """JSON with its numbers as they are written."""
    return json.loads(text, parse_int=number, parse_float=number)


def equal(a, b):
    """Whether the server takes two values as equal: numbers by value."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return Decimal(a[1]) == Decimal(b[1])
    return a == b


UNCHANGED = "unchanged-toast-datum"
# Distinct from NULL, though a record shows both as null.
JSON_NULL = object()
QUOTED = "'(?:[^']|'')*'"
LITERALS = {
    "integer": r"-?\d+", "numeric": r"-?\d+(?:\.\d+)?|NaN|-?Infinity", "boolean": "true|false",
    "double precision": r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?|NaN|-?Infinity",
}


class Decoder:
    """Reads the lines of test_decoding for one table."""

    def __init__(self, columns, root, full):
        self.columns = columns
        self.root = root
        self.full = full
        # Of an old row decoding leaves out what is NULL.
        self.known = columns if full else ["id"]
        new = "".join(f" {self.column(name)}{self.literal(name, f'null|{UNCHANGED}|')}" for name in columns)
        old = "".join(f"(?: {self.column(name)}{self.literal(name)})?" for name in self.known)
        self.patterns = {
            "INSERT": re.compile(new.replace(f"{UNCHANGED}|", "")),
            "UPDATE": re.compile(f"(?: old-key:{old} new-tuple:)?{new}"),
            "DELETE": re.compile(old),
        }

    @staticmethod
    def column(name):
        return rf"{name}\[{TYPES[name]}\]:"

    @staticmethod
    def literal(name, more=""):
        return f"({more}{LITERALS.get(TYPES[name], QUOTED)})"

    @staticmethod
    def value(name, literal):
        if literal is None or literal == "null":
            return None
        if literal == UNCHANGED:
            return UNCHANGED, name
        kind = TYPES[name]
        if kind == "boolean":
            return literal == "true"
        if kind in LITERALS:
            return literal if literal[-1].isalpha() else number(literal)
        text = literal[1:-1].replace("''", "'")
        if kind == "jsonb":
            return JSON_NULL if text == "null" else parsed(text)
        if kind == "timestamp with time zone":
            return text.replace(" ", "T", 1).replace("+00", "+00:00")
        return text

    def row(self, names, literals):
        return {name: self.value(name, literal) for name, literal in zip(names, literals, strict=True)}

    def read(self, operation, line):
        """The new row and what is known of the old one."""
        match = self.patterns[operation].fullmatch(line)
        assert match, f"cannot read {operation}:{line}"
        literals = match.groups()
        old = new = None
        if operation != "INSERT":
            old, literals = literals[:len(self.known)], literals[len(self.known):]
            old = self.row(self.known, old) if old[self.known.index("id")] else None
        if operation != "DELETE":
            new = self.row(self.columns, literals)
        return new, old


class Oracle:
    """The events that there must be, by logical decoding alone."""

    LINE = re.compile(r"table public\.(\w+): (INSERT|UPDATE|DELETE):(.*)", re.DOTALL)

    def __init__(self, db):
        self.decoders = {
            name: Decoder(columns, root or name, identity == "f")
            for name, root, identity, columns in db.rows("""
                SELECT c.relname, pg_partition_root(c.oid)::regclass::text, c.relreplident::text,
                       array_agg(a.attname::text ORDER BY a.attnum)
                FROM pg_class AS c
                JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
                GROUP BY c.oid
            """)
        }
        # What decoding does not say of an old row is known from the changes before.
        self.rows = {table: {} for table in TABLES}
        self.silent = 0
        # Only a superuser, or one that may replicate, decodes.
        self.session = db.connect(user="postgres")
        self.session.execute("SET datestyle = 'ISO'; SET timezone = 'UTC'; SET extra_float_digits = 1")
        self.session.execute("SELECT pg_create_logical_replication_slot('oracle', 'test_decoding')")

    def transactions(self):
        """Each transaction that has committed since: its id and its events."""
        query = (
            "SELECT xid::text, data FROM pg_logical_slot_get_changes('oracle', NULL, %s)"
            " WHERE data NOT LIKE 'table webhook.%%'"
        )
        while lines := self.session.execute(query, [PART]).fetchall():
            events = None
            for xid, line in lines:
                if line == f"BEGIN {xid}":
                    assert events is None
                    events = []
                elif line == f"COMMIT {xid}":
                    yield int(xid), events
                    events = None
                else:
                    events += self.events(line)
            assert events is None

    def events(self, line):
        match = self.LINE.fullmatch(line)
        assert match, f"cannot read {line}"
        relation, operation, rest = match.groups()
        decoder = self.decoders[relation]
        new, old = decoder.read(operation, rest)
        if decoder.root != "loose":
            old = self.replay(decoder, operation, new, old)
        for name in new or ():
            if new[name] == (UNCHANGED, name):
                new[name] = old[name]
        if operation == "UPDATE" and equal(old, new):
            self.silent += 1
            return []
        return [(operation, decoder.root, self.record(new or old), self.record(old))]

    @staticmethod
    def record(row):
        return row and {name: None if value is JSON_NULL else value for name, value in row.items()}

    def replay(self, decoder, operation, new, old):
        """The whole old row, which is what decoding says of it where it says all."""
        rows = self.rows[decoder.root]
        before = None
        if operation != "INSERT":
            before = rows.pop((old or new)["id"])
            assert not decoder.full or before == old, f"decoding says {old}, and before {before}"
        if operation != "DELETE":
            assert new["id"] not in rows
            rows[new["id"]] = new
        return before


class Log:
    """The events that there are."""

    def __init__(self, db):
        self.session = db.connect(user="postgres", autocommit=False)
        self.since = self.now()

    def now(self):
        """A transaction id above all that have been given, while nobody writes."""
        found = self.session.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()[0]
        self.session.rollback()
        return found

    def transactions(self):
        """The bodies since the last call, by transaction and in the order of their ids."""
        found = {}
        with self.session.cursor("events") as cursor:
            cursor.itersize = 5000
            cursor.execute(
                "SELECT xid::text, id, event_type, schema_name, table_name, payload FROM webhook.event"
                " WHERE xid >= %s::xid8 ORDER BY xid, id", [self.since],
            )
            for xid, *event in cursor:
                found.setdefault(int(xid), []).append(event)
        self.since = self.now()
        return found

    @staticmethod
    def event(id, event_type, schema, table, payload):
        body = parsed(payload)
        assert body["id"].endswith(f"_{id}")
        assert (body["event"], body["schema"], body["table"]) == (event_type, schema, table)
        assert schema == "public"
        assert "truncated" not in body
        return event_type, table, body["record"], body["old_record"]


def compare(oracle, log):
    """The number of events, which are the same on both sides."""
    found, count = log.transactions(), 0
    for xid, expected in oracle.transactions():
        events = [log.event(*event) for event in found.pop(xid, [])]
        if events != expected:
            pairs = itertools.zip_longest(events, expected)
            place = next(i for i, (event, other) in enumerate(pairs) if event != other)
            pytest.fail(
                f"PGW_SEED={SEED}: transaction {xid} has {len(events)} events instead of {len(expected)};"
                f" from number {place}:\n{events[place:place + 2]}\ninstead of\n{expected[place:place + 2]}"
            )
        count += len(events)
    assert not found, f"PGW_SEED={SEED}: events of transactions that changed nothing: {list(found.items())[:3]}"
    return count


@pytest.mark.timeout(180 + CHANGES // 500)
def test_random_changes(own_cluster, make_db):
    """No change without its event, no event without its change, and the same values in both."""
    print(f"PGW_SEED={SEED}")
    db = make_db(own_cluster(wal_level="logical", deadlock_timeout="'20ms'", synchronous_commit="off")).hand_over()
    db.run(SCHEMA)
    db.create("hook", "http://127.0.0.1:9/", table_name=TABLES[0])
    for table in TABLES[1:]:
        db.run("SELECT webhook_watch('hook', %s::regclass)", table)
    db.run("SELECT webhook_pause('hook')")
    oracle, log = Oracle(db), Log(db)
    sessions = [db.connect(prepare_threshold=None) for _ in range(WRITERS)]
    for session, settings in zip(sessions, SESSIONS):
        session.execute(settings)
    statements = [Statements(random.Random(f"{SEED}-{n}")) for n in range(WRITERS)]
    count = 0
    while count < CHANGES:
        share = min(ROUND, CHANGES - count) // WRITERS + 1
        failures = []
        threads = [
            threading.Thread(target=write, args=(session, source, f"{count}-{n}", share, failures))
            for n, (session, source) in enumerate(zip(sessions, statements))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, f"PGW_SEED={SEED}: {failures}"
        # Decoding begins where the last checkpoint was.
        db.judge.run("CHECKPOINT")
        count += compare(oracle, log)
    assert oracle.silent > count / 100
    assert db.statuses() == {"pending": count}
    assert db.value("SELECT pending FROM webhook.webhooks") == count
