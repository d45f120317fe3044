"""Statements at random, as members and others might give them: types, tables, casts, webhooks, rows, settings, grants."""

#: Types that are built in, with a literal of each.
PLAIN = {
    "int": "1", "text": "'a'", "numeric": "1.50", "date": "'2026-02-03'", "timestamptz": "'2026-02-03 04:05+06'",
    "json": "'{\"a\": 1, \"a\": 2}'",
    "jsonb": "'[1, null]'", "bytea": "'\\x00ff'", "bool": "true", "float8": "'NaN'",
    "uuid": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "int4range": "'[1,5)'",
    "interval": "'1 day'", "xml": "'<a/>'", "name": "'a'", "regtype": "'int'", "point": "'(1,2)'", "varchar(3)": "'a'",
    "int[]": "'{1,NULL}'", "oid": "1",
}

SETTINGS = [
    "DateStyle = 'German'", "DateStyle = 'SQL, DMY'", "IntervalStyle = iso_8601", "TimeZone = 'Asia/Kathmandu'",
    "search_path = {who}, public", "search_path = pg_catalog",
    "search_path = ''", "search_path = pg_temp, {who}, public, pg_catalog", "standard_conforming_strings = off",
    "escape_string_warning = off", "backslash_quote = on",
    "quote_all_identifiers = on", "array_nulls = off", "transform_null_equals = on", "bytea_output = escape",
    "extra_float_digits = -15", "xmloption = document",
    "row_security = off", "default_transaction_isolation = 'serializable'", "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "check_function_bodies = off", "plan_cache_mode = force_generic_plan", "plan_cache_mode = force_custom_plan",
    "enable_seqscan = off", "enable_indexscan = off",
    "enable_hashjoin = off", "enable_nestloop = off", "work_mem = 64", "from_collapse_limit = 1", "join_collapse_limit = 1",
    "jit_above_cost = 0", "client_min_messages = debug1",
    "default_toast_compression = pglz", "constraint_exclusion = on", "pg_webhook.capture = off",
    "pg_webhook.context = '{{\"a\": 1}}'", "max_parallel_workers_per_gather = 0",
    "parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0", "client_encoding = LATIN1",
    "synchronous_commit = off", "max_stack_depth = 200",
    "lo_compat_privileges = on", "gin_fuzzy_search_limit = 1", "temp_buffers = 100", "geqo_threshold = 2", "exit_on_error = off",
    "log_statement_stats = on", "xmlbinary = hex",
]

FORMATS = ["default", "truss", "fluxbase", "trst", "trulayer", "hasura", "supabase", "standard", "cloudevents"]


#: The columns of the tables that there are.
COLUMNS = """
    SELECT format('%%I.%%I', n.nspname, c.relname), a.attname::text, format_type(a.atttypid, a.atttypmod)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE n.nspname::text = ANY (%s) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
    ORDER BY 1, a.attnum
"""
KINDS = "SELECT format('%%I.%%I', n.nspname, t.typname) FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE n.nspname::text = ANY (%s)"


class Statements:
    """A source of them. It picks from few names, mostly from those that there are."""

    def __init__(self, dice, people):
        self.dice = dice
        self.people = people
        self.kinds = {}
        self.columns = {}
        self.casts = []

    def look(self, connection):
        """See what there is."""
        there = {name for (name,) in connection.execute(KINDS, [self.people])}
        self.kinds = {name: literal for name, literal in self.kinds.items() if name in there}
        self.columns = {}
        for table, column, kind in connection.execute(COLUMNS, [self.people]):
            literal = self.kinds.get(kind) or PLAIN.get(kind) or "NULL"
            self.columns.setdefault(table, {})[column] = f"{literal}::{kind}" if literal != "NULL" else literal

    # --- pieces --------------------------------------------------------------------------------------

    def type(self):
        """The name of a type and a literal of it."""
        if self.kinds and self.dice.random() < 0.6:
            name, literal = self.dice.choice(sorted(self.kinds.items()))
            return (f"{name}[]", f"ARRAY[{literal}]::{name}[]") if self.dice.random() < 0.2 else (name, f"{literal}::{name}")
        name, literal = self.dice.choice(sorted(PLAIN.items()))
        return name, f"{literal}::{name}"

    def owner(self):
        return self.dice.choice(self.people)

    def table(self, of=None):
        there = [name for name in sorted(self.columns) if not of or name.startswith(f"{of}.")]
        if there and self.dice.random() < 0.85:
            return self.dice.choice(there)
        return f"{of or self.owner()}.t{self.dice.randrange(3)}"

    def kind(self, of=None):
        there = [name for name in sorted(self.kinds) if not of or name.startswith(f"{of}.")]
        if there and self.dice.random() < 0.85:
            return self.dice.choice(there)
        return f"{of or self.owner()}.k{self.dice.randrange(4)}"

    def column(self, table):
        return self.dice.choice(sorted(self.columns.get(table) or {"c0": None}))

    def hook(self):
        return f"h{self.dice.randrange(4)}"

    def some(self, *values):
        return [value for value in values if self.dice.random() < 0.5]

    def condition(self, who, table, depth=0):
        """An expression over OLD and NEW; often one that does not fit."""
        row = self.dice.choice(["NEW", "NEW", "NEW", "OLD"])
        column = self.column(table)
        kind, literal = self.type()
        of = self.columns.get(table, {}).get(column)
        made = self.dice.choice([
            f"{row}.{column} IS NOT NULL", f"{row}.{column} = {of or literal}", f"{row}.{column} = ANY (ARRAY[{of or literal}])",
            f"{literal} IS NOT NULL",
            f"{row}.{column}::text <> ''", f"{who}.chk(1)", f"{self.owner()}.chk(2)", "NEW IS DISTINCT FROM OLD",
            f"{row} IS NOT NULL", "true", "NEW.c0 = '02/03/2026'",
            f"NEW.{column} IS DISTINCT FROM OLD.{column}", f"{row}.{column} = '1'", r"'\'' = ''", f"({literal})::text LIKE '%'",
            "current_user = 'postgres'",
            f"ROW({row}.{column}) = ROW({of or literal})", f"{row}.{column} < {of or literal}", f"'{{1}}'::{kind}[] IS NULL",
            f"CASE WHEN {row}.c0 IS NULL THEN true ELSE {who}.chk(3) END",
        ])
        if depth < 3 and self.dice.random() < 0.4:
            return self.dice.choice(["({0}) AND ({1})", "({0}) OR ({1})", "NOT ({0})"]).format(made,
                self.condition(who, table, depth + 1))
        return made

    def arguments(self, who, table, create):
        """Of webhook_create or webhook_update, named."""
        quoted = lambda text: "'" + text.replace("'", "''") + "'" if "\\" not in text else "E'" + text.replace("\\",
            "\\\\").replace("'", "''") + "'"
        events = self.some("INSERT", "UPDATE", "DELETE", "TRUNCATE", "a.*", "*", "b.c") or ["INSERT"]
        made = {"events": quoted("{" + ",".join(events) + "}")}
        choices = {
            "columns": lambda: quoted("{" + ",".join(self.some(*self.columns.get(table, ["c0"]))) + "}"),
            "payload_columns": lambda: quoted("{" + ",".join(self.some(*self.columns.get(table, ["c0"]))) + "}"),
            "condition": lambda: quoted(self.condition(who, table)),
            "transform": lambda: quoted(f"{self.owner() if self.dice.random() < 0.3 else who}.shape(jsonb)"),
            "format": lambda: quoted(self.dice.choice(FORMATS)), "enabled": lambda: self.dice.choice(["true", "true", "false"]),
            "headers": lambda: quoted(self.dice.choice(['{"x-a": "b"}', "{}", '{"Host": "x"}'])),
            "secret": lambda: quoted("0123456789abcdef0123"),
            "signature": lambda: quoted(self.dice.choice(["standard", "sha256", "hex", "timestamped", "none"])),
            "max_retries": lambda: str(self.dice.randrange(-1, 3)),
            "emitters": lambda: quoted("{" + self.owner() + "}"),
            "on_transform_error": lambda: quoted(self.dice.choice(["dead", "fail"])), "description": lambda: quoted("d"),
        }
        if not create:
            choices["owner"] = lambda: quoted(self.owner())
            choices["name"] = lambda: quoted(self.hook())
            choices["url"] = lambda: quoted("http://127.0.0.1:9/y")
            if self.dice.random() < 0.5:
                made = {}
        for argument in self.dice.sample(sorted(choices), self.dice.randrange(4)):
            made[argument] = choices[argument]()
        return "".join(f", {name} => {value}" for name, value in made.items())

    # --- statements of ordinary roles ----------------------------------------------------------------

    def make_type(self, who):
        name = f"{who}.k{self.dice.randrange(4)}"
        base, literal = self.type()
        what, sample = self.dice.choice([
            ("TYPE {0} AS ENUM ('a', 'b')", "'a'"), (f"DOMAIN {{0}} AS {base}", literal),
            (f"DOMAIN {{0}} AS {base} CHECK ({who}.chk(4))", literal),
            (f"DOMAIN {{0}} AS {base} NOT NULL DEFAULT {literal} CHECK (VALUE::text <> '' OR {who}.chk(5))", literal),
            (f"TYPE {{0}} AS (a {base}, b int)", f"ROW({literal}, 1)"),
            (f"TYPE {{0}} AS RANGE (subtype = {base})", "'empty'"), (f"TYPE {{0}} AS (a {base}[])", f"ROW(ARRAY[{literal}])"),
        ])
        self.kinds[name] = sample
        return "CREATE " + what.replace("{0}", name)

    def change_type(self, who):
        name = self.kind(self.dice.choice([who, who, self.owner()]))
        base, literal = self.type()
        return self.dice.choice([
            f"ALTER TYPE {name} ADD VALUE IF NOT EXISTS 'c'", f"ALTER TYPE {name} ADD ATTRIBUTE m {base} CASCADE",
            f"ALTER TYPE {name} DROP ATTRIBUTE a CASCADE",
            f"ALTER TYPE {name} ALTER ATTRIBUTE b TYPE {base} CASCADE", f"ALTER DOMAIN {name} ADD CHECK ({who}.chk(6))",
            f"ALTER DOMAIN {name} SET NOT NULL",
            f"ALTER DOMAIN {name} DROP NOT NULL", f"ALTER DOMAIN {name} SET DEFAULT {literal}",
            f"ALTER TYPE {name} RENAME TO k{self.dice.randrange(4)}", f"DROP TYPE {name}",
            f"DROP TYPE {name} CASCADE", f"ALTER TYPE {name} RENAME VALUE 'a' TO 'z'",
            f"ALTER TYPE {name} SET SCHEMA {self.owner()}", f"GRANT USAGE ON TYPE {name} TO PUBLIC",
            f"REVOKE USAGE ON TYPE {name} FROM PUBLIC",
        ])

    def make_table(self, who):
        name = f"{who}.t{self.dice.randrange(3)}"
        columns = {f"c{number}": self.type() for number in range(self.dice.randrange(1, 5))}
        self.columns[name] = {column: literal for column, (_, literal) in columns.items()}
        listed = ", ".join(f"{column} {kind}" for column, (kind, _) in columns.items())
        tail = self.dice.choice(["", "", "", " PARTITION BY HASH (c0)", f" INHERITS ({self.table()})", " WITH (fillfactor = 50)"])
        key = self.dice.choice(["", "", ", PRIMARY KEY (c0)", ", g int GENERATED ALWAYS AS (1 + 1) STORED",
            ", i int GENERATED ALWAYS AS IDENTITY"])
        more = f"; CREATE TABLE IF NOT EXISTS {who}.p0 PARTITION OF {name} FOR VALUES WITH (MODULUS 1, REMAINDER 0)" if "HASH" in tail else ""
        unlogged = self.dice.choice(["", "", "UNLOGGED "])
        return f"CREATE {unlogged}TABLE {name} ({listed}{key}){tail}{more}; GRANT ALL ON {name} TO PUBLIC"

    def change_table(self, who):
        name = self.table(self.dice.choice([who, who, self.owner()]))
        column, (kind, literal) = self.column(name), self.type()
        new = f"n{self.dice.randrange(3)}"
        return self.dice.choice([
            f"ALTER TABLE {name} ADD COLUMN {new} {kind}", f"ALTER TABLE {name} ADD COLUMN {new} {kind} DEFAULT {literal}",
            f"ALTER TABLE {name} DROP COLUMN {column}",
            f"ALTER TABLE {name} DROP COLUMN {column} CASCADE", f"ALTER TABLE {name} RENAME {column} TO {new}",
            f"ALTER TABLE {name} ALTER {column} TYPE {kind} USING NULL",
            f"ALTER TABLE {name} RENAME TO t{self.dice.randrange(3)}", f"ALTER TABLE {name} SET SCHEMA {self.owner()}",
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY", f"ALTER TABLE {name} DISABLE TRIGGER USER",
            f"ALTER TABLE {name} ENABLE TRIGGER USER",
            f"ALTER TABLE {name} DISABLE TRIGGER ALL", f"DROP TABLE {name}", f"DROP TABLE {name} CASCADE",
            f"ALTER TABLE {name} INHERIT {self.table(who)}",
            f"ALTER TABLE {name} NO INHERIT {self.table(who)}", f"ALTER TABLE {name} DETACH PARTITION {who}.p0",
            f"ALTER TABLE {name} SET UNLOGGED", f"ALTER TABLE {name} REPLICA IDENTITY FULL",
            f"CREATE POLICY p ON {name} USING ({who}.chk(7))", f"REVOKE SELECT ON {name} FROM PUBLIC",
            f"GRANT ALL ON {name} TO PUBLIC", f"GRANT SELECT ({column}) ON {name} TO {self.owner()}",
            f"REVOKE ALL ON {name} FROM PUBLIC", f"ALTER TABLE {name} ADD CHECK ({who}.chk(8)) NOT VALID",
            f"CREATE INDEX ON {name} ({column})", f"ANALYZE {name}", f"CLUSTER {name}",
            f"CREATE TRIGGER x AFTER INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION webhook.capture('{self.dice.randrange(9)}')",
            f"CREATE TYPE {self.kind(who)} AS (t {name})",
        ])

    def make_cast(self, who):
        kind = self.kind(self.dice.choice([who, who, self.owner()]))
        # Each has a name of its own, by which it finds out whose it is.
        self.casts.append(kind)
        number, older = len(self.casts), self.dice.randrange(len(self.casts))
        body = self.dice.choice(["RETURN '1'", "RETURN '{\"a\": 1}'", "RETURN NULL", "RAISE EXCEPTION 'no'",
            "PERFORM set_config('DateStyle', 'German', false); RETURN '2'", "RETURN to_json(v::text)"])
        return self.dice.choice([
            f"CREATE OR REPLACE FUNCTION {who}.cast{number}(v {kind}) RETURNS json LANGUAGE plpgsql AS $$BEGIN PERFORM {who}.spy('cast{number}'); {body}; END$$;"
            f" CREATE CAST ({kind} AS json) WITH FUNCTION {who}.cast{number}({kind})",
            f"DROP CAST IF EXISTS ({kind} AS json)", f"DROP FUNCTION IF EXISTS {who}.cast{older + 1}({self.casts[older]}) CASCADE",
        ])

    def make_transform(self, who):
        body = self.dice.choice(["RETURN v", "RETURN NULL", "RAISE EXCEPTION 'no'", "RETURN '{}'",
            "PERFORM set_config('search_path', 'x', false); RETURN v", "RETURN v || '{\"x\": 1}'",
                                 "INSERT INTO {0} DEFAULT VALUES; RETURN v", "PERFORM webhook_emit('a.b', '{{}}'); RETURN v",
                                 "PERFORM webhook_delete('h0'); RETURN v"])
        body = body.format(self.table(who)) if "{0}" in body or "{{" in body else body
        return f"CREATE OR REPLACE FUNCTION {who}.shape(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM {who}.spy('shape'); {body}; END$$"

    def rows(self, who):
        table = self.table()
        columns = self.columns.get(table) or {"c0": "1"}
        chosen = {column: self.dice.choice([literal, literal, "NULL", "DEFAULT"]) for column,
            literal in columns.items() if self.dice.random() < 0.8} or {"c0": "NULL"}
        column, literal = self.dice.choice(sorted(columns.items()))
        insert = f"INSERT INTO {table} ({', '.join(chosen)}) VALUES ({', '.join(chosen.values())})"
        return self.dice.choice([
            insert, insert, insert, insert, f"UPDATE {table} SET {column} = {literal}", f"UPDATE {table} SET {column} = NULL",
                f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}", f"TRUNCATE {table}", f"INSERT INTO {table} SELECT * FROM {table} LIMIT 3",
            f"WITH x AS (DELETE FROM {table} RETURNING *) INSERT INTO {table} SELECT * FROM x",
            f"MERGE INTO {table} USING (VALUES (1)) AS s (x) ON false WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
            f"INSERT INTO {table} DEFAULT VALUES ON CONFLICT DO NOTHING",
            f"PREPARE w AS {insert}", "EXECUTE w", "EXECUTE w", "DEALLOCATE ALL",
        ])

    def webhook(self, who):
        table, hook = self.table(self.dice.choice([who, who, self.owner()])), self.hook()
        operation = self.dice.choice(["INSERT", "UPDATE", "DELETE", "TRUNCATE", "MANUAL", "a.b", "TEST"])
        columns = self.columns.get(table) or {"c0": "1"}
        # As texts: where it made JSON of values itself, it would call casts.
        row = "jsonb_build_object(" + ", ".join(f"'{column}', ({literal})::text" for column, literal in columns.items()) + ")"
        condition = self.condition(who, table).replace("'", "''")
        return self.dice.choice([
            f"SELECT webhook_create('{hook}', 'http://127.0.0.1:9/x', '{table}'{self.arguments(who, table, True)})",
            f"SELECT webhook_create('{hook}', 'http://127.0.0.1:9/x', '{table}'{self.arguments(who, table, True)})",
            f"SELECT webhook_update('{hook}'{self.arguments(who, table, False)})",
            f"SELECT webhook_update('{hook}'{self.arguments(who, table, False)})",
            f"SELECT webhook_watch('{hook}', '{table}', condition => '{condition}')",
            f"SELECT webhook_watch('{hook}', '{table}', '{{INSERT,UPDATE}}')",
            f"SELECT webhook_unwatch('{hook}', '{table}')", f"SELECT webhook_update('{hook}', table_name => '{table}', condition => '')", self.manage(hook),
            f"SELECT webhook_invoke('{hook}', t) FROM {table} AS t LIMIT 2",
            f"SELECT webhook_invoke('{hook}', ROW({self.type()[1]}, {self.type()[1]}))",
            f"SELECT * FROM webhook_preview('{hook}', '{operation}', {row}, {row}, '{table}')",
            f"SELECT * FROM webhook_preview('{hook}', '{operation}', '{{\"c0\": \"a\"}}')",
            "SELECT webhook_emit('a.b', '{}')", "SELECT webhook_emit('b.c', '[1]')",
            "SELECT count(*) FROM webhook.webhooks, webhook.deliveries",
        ])

    def manage(self, hook):
        return self.dice.choice([
            f"SELECT webhook_delete('{hook}')", f"SELECT webhook_pause('{hook}')", f"SELECT webhook_resume('{hook}')",
            f"SELECT webhook_replay_all('{hook}')", "SELECT * FROM webhook_check()",
            f"SELECT webhook_rotate_secret('{hook}')", f"SELECT webhook_update('{hook}', url => 'http://127.0.0.1:9/z', payload_columns => '{{}}')", "SELECT * FROM webhook.stats",
            f"SELECT webhook_update('{hook}', enabled => true)", f"SELECT webhook_replay(max(id)) FROM webhook.deliveries",
            "SELECT webhook_cancel(max(id)) FROM webhook.deliveries", "SELECT webhook_cancel_all()", "SELECT * FROM webhook.jobs",
            "SELECT webhook_cancel_job(max(id)) FROM webhook.jobs",
            f"SELECT webhook_update('{hook}', events => '{{INSERT,UPDATE}}')",
            f"SELECT webhook_update('{hook}', columns => '{{}}')", "SELECT * FROM webhook.dead_letters",
            f"SELECT * FROM webhook_preview('{hook}', 'INSERT', '{{\"c0\": \"a\", \"c1\": 1}}')",
            f"SELECT * FROM webhook_preview('{hook}', 'UPDATE', '{{}}', '{{}}')",
        ])

    def session(self, who):
        return self.dice.choice(["RESET ALL", "RESET ALL", "BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", "DISCARD PLANS",
            "DISCARD TEMP"] + ["SET " + self.dice.choice(SETTINGS).format(who=who)] * 8)

    def end(self):
        """Of a transaction."""
        return self.dice.choice(["COMMIT", "COMMIT", "ROLLBACK"])

    def first(self, who):
        """What there is to begin with."""
        return [
            f"CREATE TYPE {who}.k0 AS ENUM ('a', 'b')", f"CREATE DOMAIN {who}.k1 AS int CHECK ({who}.chk(9))",
            f"CREATE TABLE {who}.t0 (c0 int, c1 text, c2 {who}.k0, c3 {who}.k1); GRANT ALL ON {who}.t0 TO PUBLIC",
            f"CREATE FUNCTION {who}.shape(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM {who}.spy('shape'); RETURN v; END$$",
            f"SELECT webhook_create('h0', 'http://127.0.0.1:9/x', '{who}.t0', '{{INSERT,UPDATE,DELETE,TRUNCATE,*}}', transform => '{who}.shape(jsonb)')",
            f"SELECT webhook_create('h1', 'http://127.0.0.1:9/x', '{who}.t0', '{{INSERT}}', condition => 'NEW.c2 = ANY (''{{a,b}}''::{who}.k0[])')",
        ]

    def ordinary(self, who):
        """A statement of an ordinary role."""
        make = self.dice.choices(
            [self.make_type, self.change_type, self.make_table, self.change_table, self.make_cast, self.make_transform, self.rows,
            self.webhook, self.session],
            [3, 2, 4, 3, 3, 2, 16, 14, 3],
        )[0]
        return make(who)

    # --- and of those who manage -----------------------------------------------------------------------

    def superuser(self):
        """What a superuser does with roles and webhooks; it writes no row, and brings no text of its own."""
        one, other = self.dice.sample(self.people, 2)
        if self.dice.random() < 0.01:
            return f"DROP OWNED BY {one} CASCADE; {SCHEMA.format(one)}"
        return self.dice.choice([
            f"GRANT {one} TO {other}", f"REVOKE {one} FROM {other}", f"ALTER ROLE {one} NOINHERIT", f"ALTER ROLE {one} INHERIT",
            f"REASSIGN OWNED BY {one} TO {other}",
            f"ALTER TABLE {self.table()} OWNER TO {one}", f"ALTER TYPE {self.kind()} OWNER TO {one}",
            f"ALTER FUNCTION {one}.shape(jsonb) OWNER TO {other}",
            f"ALTER FUNCTION {one}.shape(jsonb) OWNER TO {one}", f"SELECT webhook_grant('{one}', 'viewer')",
            f"SELECT webhook_grant('{one}', 'member')", f"SELECT webhook_grant('{one}', 'member')",
            f"SELECT webhook_revoke('{one}', 'viewer')", f"SELECT webhook_update(id::text, owner => '{one}') FROM webhook.webhooks", f"GRANT CREATE ON SCHEMA {one} TO {other}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA {one} TO {other}", f"REVOKE ALL ON ALL TABLES IN SCHEMA {one} FROM {other}",
            "ALTER EXTENSION pg_webhook UPDATE",
            "SELECT pg_terminate_backend(pid) FROM webhook.worker", f"DROP FUNCTION IF EXISTS {one}.shape(jsonb) CASCADE",
            *[self.manage(self.hook()) for _ in range(12)],
            f"SELECT webhook_update(id::text, events => '{{INSERT,UPDATE}}') FROM webhook.webhooks",
            "SELECT webhook_update(id::text, description => 'd') FROM webhook.webhooks",
            "SELECT (webhook_preview(id::text, 'INSERT', '{\"c0\": \"a\"}')).* FROM webhook.webhooks",
        ])


#: What each has to begin with, and after DROP OWNED.
SCHEMA = "CREATE SCHEMA IF NOT EXISTS {0} AUTHORIZATION {0}; GRANT USAGE ON SCHEMA {0} TO PUBLIC"
