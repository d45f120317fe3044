"""Values of every type on their way to the receiver: valid JSON, what the server says of the row, and the
same bytes from every session.

A column is a type and a row is a turn: turn n has the n-th value of each type, as its input function takes it.
"""

import base64
import itertools
import json
import re
import struct
import subprocess

import psycopg
import pytest

from harness.cluster import Database
from harness.major import MAJOR

RECORD = re.compile('"record":(.*),"old_record":', re.DOTALL)
CHANGE = re.compile(r'"event":"(\w+)".*"record":(\{"turn":(\d+),.*),"timestamp":', re.DOTALL)

TYPES = r"""
    CREATE TYPE odd AS ENUM ('', ' ', '"', '\', '''', ',', '{}', 'null', 'é', '😀', E'\x01\n', 'a''b"c\d');
    CREATE TYPE span AS RANGE (subtype = text, multirange_type_name = spans);
    CREATE TYPE part AS (n numeric, at timestamptz, raw bytea, words text[]);
    CREATE TYPE whole AS ("first part" part, parts part[], "for" interval, "ö \ " odd);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN shifted AS int[];
"""

DIGITS = "1234567890" * 13107 + "12"
FRACTION = "9876543210" * 1638 + "001"

EMPTY, UNBOUNDED = "empty", "(,)"
CONTROLS = "".join(map(chr, range(1, 32)))
TEXTS = [
    "", " ", "\x7f", "\x80\x9f", CONTROLS, "\"\\/\b\f'`", "\\u0041 \\ud800 \\n", "null", "</script><!--",
    "\u2028\u2029", "\u0085\u00a0\u200b\u200e\ufeff", "\ufdd0\ufffd\ufffe\uffff", "\ud7ff\ue000",
    "e\u0301\u0327 \u00e9", "é ß ſ ǆ İ", "😀\U00010000\U0010ffff", "👩\u200d👩\u200d👧", "한글 עברית",
    "\r\n\t", " padded ", "x" * 5000, "é" * 2001,
]
NAMES = [text for text in TEXTS if len(text.encode()) < 64]
# json keeps what it is given; jsonb cannot hold U+0000 and lone surrogates.
JSONB = [
    "null", "true", '""', "{}", "[]", "-0", "0.10", "1e400", "1E-400", "123456789012345678901234567890",
    '{"b": 1, "a": [1, {"": null}], "__proto__": {"constructor": 1}}', '{"1": 1, "0": 0, "é": "\\u00e9"}',
    '"\\u0001\\u001f\\u007f\\u2028\\"\\\\\\/\\ud83d\\ude00"', '"\u2028\u2029\x7f😀"', "[" * 500 + "]" * 500,
    '{"k": 1, "k": 2.50, "k": {"k": 3, "k": 4}}', ' \t\r\n[ 1 ,\n\t2 ]\r\n ',
]
JSON = [*JSONB, '"\\u0000"', '"\\ud83d"', '["\\ude00\\ud83d"]', "1e131072", "-0.0e-0", '{"a":1,"A":1,"a":1}']

CASES = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "-1", "0", "32767"],
    "integer": ["-2147483648", "0", "2147483647"],
    "bigint": ["-9223372036854775808", "9007199254740993", "9223372036854775807"],
    "numeric": [
        "0", "-0", "0.000", "-0.0010", "1e20", "1e-20", "NaN", "Infinity", "-Infinity", "0.1",
        "1e131071", f"{DIGITS}.{FRACTION}", f"-{DIGITS}.{FRACTION}", "1e-16383", "99999999.99999999",
    ],
    "numeric(6,2)": ["9999.99", "-0.005", "NaN"],
    "numeric(3,-2)": ["99900", "-50"],
    "numeric(2,4)": ["0.0099"],
    "real": [
        "0", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "1.1754942e-38", "1.1754944e-38", "3.4028235e38",
        "0.1", "16777216", "1e15", "1e16", "-1.23456789", "0.33333334", "123456.79",
    ],
    "double precision": [
        "0", "-0", "NaN", "Infinity", "-Infinity", "5e-324", "2.225073858507201e-308", "2.2250738585072014e-308",
        "1.7976931348623157e308", "0.1", "0.30000000000000004", "1e22", "1e23", "9007199254740993", "1e15",
        "123456789012345678", "2e-308", "5.5e-5", "-4.35", "0.3333333333333333",
    ],
    # The cluster's lc_monetary is C.UTF-8. That money depends on it is documented, so it is not varied here.
    "money": ["-92233720368547758.08", "92233720368547758.07", "0", "-0.01"],
    "oid": ["0", "4294967295"],
    "text": TEXTS,
    "varchar": TEXTS,
    "varchar(3)": ["", "é😀\u0301", "\u2028\\\""],
    "char(5)": ["", "a", " a", "é😀", "\"\\\x01\t ", "\u2028"],
    "char": ["", "x", '"', "\x01"],
    '"char"': ["", " ", "a", '"', "\\", "\x01", "\x7f", r"\200", r"\377"],
    "name": NAMES,
    "refcursor": TEXTS,
    "bytea": ["", "\\x" + bytes(range(256)).hex(), r"\000\\", "\\x" + "00ff" * 3000],
    "date": ["infinity", "-infinity", "4714-11-24 BC", "0044-03-15 BC", "0001-12-31 BC", "0001-01-01",
             "2000-02-29", "9999-12-31", "10000-01-01", "5874897-12-31"],
    "time": ["00:00", "24:00", "23:59:59.999999", "12:34:56.7", "00:00:00.000001"],
    "time(2)": ["23:59:59.994", "23:59:59.999"],
    "timetz": ["00:00+15:59:59", "24:00-15:59:59", "12:00:00.5+05:30", "23:59:59.999999-00:44:30", "12:00+00"],
    "timestamp": [
        "infinity", "-infinity", "4714-11-24 00:00:00 BC", "0001-12-31 23:59:59.999999 BC", "0001-01-01",
        "1582-10-10", "1970-01-01", "1999-12-31 23:59:60", "2024-02-29 12:34:56.789012", "9999-12-31 24:00",
        "294276-12-31 23:59:59.999999",
    ],
    "timestamp(0)": ["1999-12-31 23:59:59.5", "infinity"],
    "timestamptz": [
        "infinity", "-infinity", "4714-11-24 00:00:00+00 BC", "4713-01-01 00:00:00+15:59:59 BC",
        "0001-01-01 00:00:00+01", "1850-01-01 00:00:00+00", "1900-01-01 00:00:00-00:44:30",
        "2024-03-31 01:30:00+00", "2024-11-03 06:30:00.5+00", "1970-01-01 00:00:00+00",
        "294276-12-31 23:59:59.999999+00",
    ],
    "interval": [
        "0", "178000000 years", "-178000000 years", "2147483647 days", "-2147483648 days",
        "+2562047788:00:54.775807", "-2562047788:00:54.775807", "+1 year -2 mons +3 days -04:05:06.7",
        "-1 year +2 mons -3 days +04:05:06.000001", "+1 mon -1 day", "-1 day +00:00:00.1", "-00:00:00.000001",
        "+1000 years +1000 days +1000 hours", "-1 year -2 mons", "+1 sec", "-1 mon +1 sec",
    ],
    "interval day to second(2)": ["+1 day -00:00:00.129"],
    "interval year to month": ["+1 year -1 mon"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "{FFFFFFFFffffFFFFffffFFFFFFFFFFFF}"],
    "inet": ["0.0.0.0/0", "255.255.255.255", "10.1.2.3/8", "::", "::ffff:1.2.3.4", "fe80::1/64", "::1.2.3.4/0"],
    "cidr": ["0.0.0.0/0", "255.255.255.255", "10/8", "::/0", "2001:db8::/32", "::ffff:1.2.3.4/128"],
    "macaddr": ["00:00:00:00:00:00", "FFFFFF-FFFFFF"],
    "macaddr8": ["00:00:00:00:00:00:00:00", "FFFF.FFFF.FFFF.FFFF", "08002b010203"],
    "bit(3)": ["000", "101"],
    "bit": ["0", "1"],
    "varbit": ["", "1", "0" * 9, "10" * 4000],
    "varbit(2)": ["", "10"],
    "point": ["(0,0)", "(-0,1e-300)", "(NaN,Infinity)", "(-Infinity,5e-324)", "(0.1,0.30000000000000004)"],
    "line": ["{1,-1,0}", "{0.1,-1e300,5e-324}", "{NaN,1,Infinity}"],
    "lseg": ["[(0,0),(0.1,-0)]", "[(NaN,1),(Infinity,2)]"],
    "box": ["(0,0),(1,1)", "(0.1,-Infinity),(Infinity,0.2)"],
    "path": ["[(0,0)]", "((0.1,0),(1,1),(2,NaN))", "[(1e308,-1e-308),(0,0)]"],
    "polygon": ["((0,0))", "((0.1,0),(1,1),(2,1e-9))"],
    "circle": ["<(0,0),0>", "<(0.1,-0.2),Infinity>", "<(NaN,1),1.7976931348623157e308>"],
    "json": JSON,
    "jsonb": JSONB,
    "jsonpath": ["$", "strict $.a", '$."a\\"b\\\\"[*] ? (@.b > 1.10 && @ like_regex "^\\\\d" flag "i")',
                 '$[last - 1 to last].**{2 to 3}.datetime("HH24")', '$x + -1e400', '"\\u0001\u2028😀"'],
    "xml": ["", "<a b=\"1\"/>", "text &amp; <b>\\\"é😀</b>\r\n\t", "<!-- \u2028 --><a><![CDATA[<&]]></a>",
            '<?xml version="1.0" standalone="yes"?><a/>', '<?xml version="1.1"?><a xmlns="urn:x">\u0085</a>'],
    "tsvector": ["", "a:1A,16383B,2C b 'it''s':7", "'\\\\':1 '\"' '😀' '\u2028' ' '", "a " * 10 + "c:99999"],
    "tsquery": ["", "a", "fat & ( rat | !cat ) <-> dog:*AB <5> x", "'it''s' & '\\\\' | '\"' & !'😀'"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"],
    "xid": ["0", "4294967295"],
    "xid8": ["0", "18446744073709551615"],
    "cid": ["0", "4294967295"],
    "tid": ["(0,0)", "(4294967295,65535)"],
    "pg_snapshot": ["1:1:", "10:20:10,14,15", "1:9223372036854775807:"],
    "txid_snapshot": ["1:1:", "10:20:10,14,15", "1:9223372036854775807:"],
    "int2vector": ["", "-32768 0 32767"],
    "oidvector": ["", "0 4294967295"],
    "aclitem": ["=r/postgres", "postgres=arwdDxt/postgres", "postgres=r*/postgres"],
    # What pg_catalog holds is written the same under every search_path that shadows nothing.
    "regclass": ["pg_class", "0", "4294967295"],
    "regcollation": ['"C"', "0"],
    "regconfig": ["simple", "0"],
    "regdictionary": ["simple", "0"],
    "regnamespace": ["pg_catalog", "0"],
    "regoper": ["0", "4294967295"],
    "regoperator": ["+(integer,integer)", "!!(NONE,tsquery)", "0"],
    "regproc": ["boolin", "0"],
    "regprocedure": ["abs(numeric)", "0"],
    "regrole": ["postgres", "0"],
    "regtype": ["double precision", '"char"', "text[]", "0"],
    "int4range": [EMPTY, UNBOUNDED, "[-2147483648,2147483646]", "(1,)", "(,1]"],
    "int8range": [EMPTY, UNBOUNDED, "[-9223372036854775808,9223372036854775806]"],
    "numrange": [EMPTY, UNBOUNDED, "[-Infinity,NaN]", "(0.10,1e100)", "[1,1]"],
    "daterange": [EMPTY, UNBOUNDED, "[-infinity,infinity]", "[0044-03-15 BC,2024-02-29]", "(infinity,)"],
    "tsrange": [EMPTY, UNBOUNDED, "[-infinity,infinity)", '["0044-03-15 12:00 BC","294276-12-31 23:59:59.999999"]'],
    "tstzrange": [EMPTY, UNBOUNDED, "[-infinity,infinity)", '["0044-03-15 12:00+01 BC","2024-03-31 01:30+00")',
                  '("1850-01-01 00:00+00",)'],
    "span": [EMPTY, UNBOUNDED, '["",)', '["\\"\\\\","😀, )]"]', '(" ",\u2028]'],
    "int4multirange": ["{}", "{(,)}", "{[1,2],[5,6],(9,)}"],
    "int8multirange": ["{}", "{(,)}", "{[-9223372036854775808,1),[9223372036854775806,)}"],
    "nummultirange": ["{}", "{(,)}", "{[0.10,0.20),(1e30,Infinity]}"],
    "datemultirange": ["{}", "{(,)}", "{[-infinity,0044-03-15 BC),[2024-02-29,infinity)}"],
    "tsmultirange": ["{}", "{(,)}", '{[-infinity,"0044-03-15 12:00 BC"),["2024-02-29 00:00:00.1",)}'],
    "tstzmultirange": ["{}", "{(,)}",
                       '{["1850-01-01 00:00+00","1900-01-01 00:00-00:44:30"],["2024-03-31 01:30+00",)}'],
    "spans": ["{}", '{["","\\""],["😀",)}'],
    "odd": ["", " ", '"', "\\", "'", ",", "{}", "null", "é", "😀", "\x01\n", "a'b\"c\\d"],
    "positive": ["1", "2147483647"],
    "part": ["(,,,)", '(NaN,infinity,"\\\\x00ff","{NULL,"""",""a b""}")', '(1.00,"0044-03-15 12:00+01 BC",,{})'],
    "whole": ["(,,,)", '("(,,,)","{NULL,""(,,,)"",""(0.10,,,)""}","-1 day +00:00:01","""")'],
    "integer[]": ["{}", "{NULL}", "{1,NULL,-1}", "{{1,NULL},{3,4}}", "{{{1},{2}},{{3},{NULL}}}"],
    "text[]": ["{}", '{""}', '{NULL,"NULL",null,"a\\"b\\\\","{,}"," ","\u2028😀\x01"}'],
    "timestamptz[]": ['{infinity,NULL,"0044-03-15 12:00+01 BC","2024-03-31 01:30+00"}'],
    "json[]": ['{"{\\"k\\": 1, \\"k\\" :2.50}",NULL,null,"null"}'],
    "bytea[]": ['{"\\\\x","\\\\x00ff",NULL}'],
    "odd[]": ['{"","\\"",😀,"null",NULL}'],
    "whole[]": ['{NULL,"(,,,)"}'],
    "positive[]": ["{{1,2},{NULL,3}}"],
    "tstzrange[]": ['{empty,"(,)",NULL,"[\\"2024-03-31 01:30+00\\",infinity)"}'],
    "shifted": ["[5:6]={1,2}", "[-2:-1][3:4]={{1,NULL},{NULL,2}}", "{}", "[0:0]={NULL}"],
    "shifted[]": ['{"[5:6]={1,2}",NULL,"{}"}'],
}

if MAJOR >= 17:
    CASES["interval"] += ["infinity", "-infinity"]
    CASES["interval[]"] = ["{infinity,NULL,-infinity}"]

# Types without a case: they accept no values from outside.
NO_VALUES = {
    "pg_node_tree": "expressions in catalogs",
    "pg_ndistinct": "extended statistics",
    "pg_dependencies": "extended statistics",
    "pg_mcv_list": "extended statistics",
    "pg_brin_bloom_summary": "index entries",
    "pg_brin_minmax_multi_summary": "index entries",
    "gtsvector": "index entries",
}

# Types of which the server does not read back what it has written.
NOT_READ_BACK = {
    "json": "the server resolves escapes, and refuses some",
    "json[]": "null is no value",
    "jsonb": "null is no value",
    "int2vector": "written as an array, not read from one",
    "oidvector": "written as an array, not read from one",
    "shifted": "a JSON array has no bounds",
    "shifted[]": "a JSON array has no bounds",
}

CANONICAL = """
    SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex';
    SET extra_float_digits = 1
"""
SESSIONS = [
    "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'",
    "SET timezone = '<odd>+11:22'; SET datestyle = 'SQL, DMY'; SET bytea_output = 'escape'",
    "SET timezone = 'America/St_Johns'; SET datestyle = 'Postgres, YMD'; SET extra_float_digits = -15",
    "SET timezone = 'Pacific/Apia'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 3",
    "SET timezone = 'Europe/Dublin'; SET datestyle = 'SQL, MDY'; SET intervalstyle = 'postgres_verbose'",
    "SET timezone = -12.75; SET datestyle = 'Postgres, DMY'; SET bytea_output = 'escape'; SET extra_float_digits = 0",
    # What must not count either, though nothing is said of it.
    "SET timezone = 'Africa/Monrovia'; SET client_encoding = 'LATIN1'; SET xmloption = 'document'",
]

# What the values are written as in a session, to show that its settings count.
WRITTEN = "SELECT ROW(timestamptz 'epoch', interval '-1 mon +1 day -1:00', bytea '\\x01', 0.1::float8)::text"


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def array_of(column):
    return f"ARRAY[{quoted(column)}, NULL, {quoted(column)}]"


# An array of arrays is an array of more dimensions, and those are cases of their own.
NOT_ELEMENTS = {column for column in CASES if column.endswith("[]")} | {"int2vector", "oidvector", "shifted"}

# Those whose values the extension writes itself, unless another column of the row is not among them.
SIMPLE = [
    "boolean", "smallint", "integer", "bigint", "numeric", "numeric(6,2)", "numeric(3,-2)", "numeric(2,4)", "real",
    "double precision", "text", "varchar", "varchar(3)", "char(5)", "char", "bytea", "date", "time", "time(2)",
    "timestamp", "timestamp(0)", "timestamptz", "interval", "interval day to second(2)", "interval year to month",
    "uuid", "json", "jsonb", "positive",
]

# For each table its columns and how a row of `given` becomes one of it.
SHAPES = {
    "simple": [(quoted(column), column, quoted(column)) for column in SIMPLE],
    "simple_domains": [(quoted(column), quoted(f"{column} domain"), quoted(column)) for column in SIMPLE],
    "plain": [(quoted(column), column, quoted(column)) for column in CASES],
    "domains": [(quoted(column), quoted(f"{column} domain"), quoted(column)) for column in CASES],
    "arrays": [(quoted(column), f"{column}[]", array_of(column)) for column in CASES if column not in NOT_ELEMENTS],
    "composites": [("v", "given", "given"), ("nested", "nest", "ROW(given, NULL)::nest")],
}


def fill(shape):
    return f"INSERT INTO {shape} SELECT turn, {', '.join(value for _, _, value in SHAPES[shape])} FROM given"


@pytest.fixture(scope="module")
def database(cluster):
    """A database with the values in `given`, and an empty table of each shape, all of them an ordinary role's."""
    database = Database(cluster, "truth").hand_over()
    database.run("SET jit = off")
    database.run(TYPES)
    for column in CASES:
        database.run(f"CREATE DOMAIN {quoted(f'{column} domain')} AS {column}")
    columns = ", ".join(f"{quoted(column)} {column}" for column in CASES)
    database.run(f"CREATE TABLE given (turn int, {columns})")
    database.run("CREATE TYPE nest AS (inside given, nothing given)")
    for shape, columns in SHAPES.items():
        columns = ", ".join(f"{name} {type}" for name, type, _ in columns)
        database.run(f"CREATE TABLE {shape} (turn int PRIMARY KEY, {columns})")
    for turn, values in enumerate(itertools.zip_longest(*CASES.values())):
        database.run(f"INSERT INTO given VALUES ({', '.join(['%s'] * (1 + len(values)))})", turn, *values)
    yield database
    database.drop()


@pytest.fixture
def db(database, receiver):
    """The same with a webhook for the tables, until the end of the test."""
    database.create("hook", receiver.url("/"), table_name="plain")
    for shape in SHAPES.keys() - {"plain"}:
        database.run("SELECT webhook_watch('hook', %s::regclass)", shape)
    yield database
    database.run("SELECT webhook_delete('hook')")
    database.run(f"TRUNCATE {', '.join(SHAPES)}")


@pytest.fixture
def canonical(db):
    """A session whose settings are those of which a record is promised."""
    with db.connect(prepare_threshold=None) as connection:
        connection.execute(CANONICAL)
        yield connection


def strict(body):
    """What Python makes of a body, with nothing accepted that JSON does not have; numbers as bits of doubles."""
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    def number(literal):
        return {"number": struct.pack(">d", float(literal)).hex()}

    return json.loads(body.decode(), parse_int=number, parse_float=number, parse_constant=refuse)


NODE = """
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const bits = Buffer.alloc(8);
const tagged = (value) => {
  if (typeof value === "number") { bits.writeDoubleBE(value); return { number: bits.toString("hex") }; }
  if (Array.isArray(value)) return value.map(tagged);
  if (value === null || typeof value !== "object") return value;
  const copy = Object.create(null);
  for (const key of Object.keys(value)) copy[key] = tagged(value[key]);
  return copy;
};
const bodies = JSON.parse(require("fs").readFileSync(0));
console.log(JSON.stringify(bodies.map((body) => tagged(JSON.parse(decoder.decode(Buffer.from(body, "base64")))))));
"""


def strict_in_node(bodies):
    """What Node makes of bodies, in the same form."""
    given = json.dumps([base64.b64encode(body).decode() for body in bodies])
    done = subprocess.run(["node", "-e", NODE], input=given, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def rows(connection, shape):
    """What the server says of each row, by its turn."""
    return dict(connection.execute(f"SELECT turn, row_to_json({shape}.*)::text FROM {shape}").fetchall())


def different(found, expected):
    """The columns in which two records differ, for a message that can be read."""
    found, expected = json.loads(found, parse_int=str), json.loads(expected, parse_int=str)
    return {key: (found[key], expected[key]) for key in found if found[key] != expected[key]}


def test_each_built_in_type_has_a_case(database):
    """A type that a new version of the server brings fails here until it has a case."""
    types = {
        name for (name,) in database.rows("""
            SELECT t.typname FROM pg_type AS t
            WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND t.typinput <> 0
              AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
        """)
    }
    cases = {
        name for (name,) in database.rows("""
            SELECT t.typname FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = 'given'::regclass AND a.attnum > 0
        """)
    }
    assert types - cases == NO_VALUES.keys(), "types need a case, or a reason to have none"
    for name in NO_VALUES:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot accept a value|not implemented"):
            database.run(f"SELECT ''::{name}")


@pytest.mark.parametrize("shape", SHAPES)
def test_what_arrives_is_json_and_what_the_server_says(shape, db, canonical, receiver):
    """INSERT, UPDATE and DELETE of each row, byte for byte."""
    uuid = db.value("SELECT id FROM webhook.webhooks")
    db.run(fill(shape))
    old = rows(canonical, shape)
    db.run(f"UPDATE {shape} SET turn = turn + 1000")
    new = rows(canonical, shape)
    db.run(f"DELETE FROM {shape}")
    expected = {
        **{("INSERT", turn): (record, "null") for turn, record in old.items()},
        **{("UPDATE", turn + 1000): (new[turn + 1000], record) for turn, record in old.items()},
        **{("DELETE", turn): (record, record) for turn, record in new.items()},
    }
    bodies = [request.body for request in receiver.wait(len(expected))]
    assert len(bodies) == len(expected)
    for body, in_node in zip(bodies, strict_in_node(bodies)):
        assert strict(body) == in_node
        parsed = json.loads(body, parse_int=str)
        record, old_record = expected.pop((parsed["event"], int(parsed["record"]["turn"])))
        whole = (
            f'{{"id":"{parsed["id"]}","event":"{parsed["event"]}","schema":"public","table":"{shape}",'
            f'"record":{record},"old_record":{old_record},'
            f'"timestamp":"{parsed["timestamp"]}","webhook_id":"{uuid}"}}'
        )
        assert body == whole.encode(), different(RECORD.search(body.decode())[1], record)


def payloads(db, shape):
    """The bodies that wait for a paused webhook."""
    found = db.rows(
        "SELECT payload FROM webhook.deliveries WHERE status = 'pending' AND table_name = %s ORDER BY id", shape
    )
    return [payload for (payload,) in found]


def images(payloads):
    """Both images of each change, as text, by operation and turn: the order is that of the rows on disk."""
    found = (CHANGE.search(payload) for payload in payloads)
    return {(change[1], int(change[3])): change[2] for change in found}


def test_a_record_can_be_read_back(db, canonical):
    """What the server reads out of a record is the row, with nothing rounded or lost."""
    names = [column for column in CASES if column not in NOT_READ_BACK]
    values = ", ".join(map(quoted, names))
    db.run(f"CREATE TABLE readable (turn int, {', '.join(f'{quoted(name)} {name}' for name in names)})")
    db.run("SELECT webhook_watch('hook', 'readable'); SELECT webhook_pause('hook')")
    db.run(f"INSERT INTO readable SELECT turn, {values} FROM given")
    texts = ", ".join(f"{quoted(name)}::text" for name in names)
    stored = canonical.execute(f"SELECT {texts} FROM readable ORDER BY turn").fetchall()
    for payload, expected in zip(payloads(db, "readable"), stored, strict=True):
        record = RECORD.search(payload)[1]
        read = canonical.execute(f"SELECT {texts} FROM json_populate_record(NULL::readable, %s)", [record])
        assert read.fetchone() == expected
    db.run("DROP TABLE readable")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bytes_are_the_same_in_every_session(shape, db, canonical):
    """The same statements under odd settings."""
    db.run("SELECT webhook_pause('hook')")
    changes = "; ".join([fill(shape), f"UPDATE {shape} SET turn = turn + 1000", f"DELETE FROM {shape}"])
    canonical.execute(changes)
    expected = images(payloads(db, shape))
    count = len(expected)
    assert count == 3 * db.value("SELECT count(*) FROM given")
    written = {canonical.execute(WRITTEN).fetchone()}
    for number, settings in enumerate(SESSIONS, 1):
        with db.connect(prepare_threshold=None) as session:
            session.execute(settings)
            session.execute(changes)
            written.add(session.execute(WRITTEN).fetchone())
        found = images(payloads(db, shape)[number * count:])
        assert {key for key in found | expected if found.get(key) != expected.get(key)} == set(), settings
    assert len(written) == 1 + len(SESSIONS)
