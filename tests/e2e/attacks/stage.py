"""A database, and people in it who want more than they have.

An attack does what it likes as ordinary roles. Whatever it does, afterwards the same three questions are asked:
has anybody more rights than before, has code run as somebody else than its author, and is every session that was
made to take part as it was.
"""

import contextlib
import itertools
import re

import psycopg

from harness.cluster import Database

#: Who there is, and the level of each.
PEOPLE = {
    "nobody": None, "viewer": "viewer", "member": "member", "stranger": "member", "admin": "admin",
    "tabler": "member", "parter": None, "typer": None, "oper": None, "funcer": None, "writer": None,
}

#: All that says what a role may do. One row for each fact: what, of which object, the fact, and the object's owner.
RIGHTS = """
    SELECT 'role', rolname::text, (to_jsonb(r) - 'oid' - 'rolconfig')::text, NULL FROM pg_roles AS r
    UNION ALL
    SELECT 'member', roleid::regrole::text || ' of ' || member::regrole::text, (to_jsonb(m) - 'oid')::text, NULL
    FROM pg_auth_members AS m
    UNION ALL
    SELECT 'relation', oid::regclass::text, relowner::regrole::text || coalesce(relacl::text, ''), relowner::regrole::text
    FROM pg_class WHERE relkind NOT IN ('t', 'i', 'I')
    UNION ALL
    SELECT 'column', attrelid::regclass || '.' || attname, attacl::text, c.relowner::regrole::text
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE attacl IS NOT NULL
    UNION ALL
    SELECT 'function', oid::regprocedure::text,
           proowner::regrole::text || coalesce(proacl::text, '') || prosecdef::text,
           -- The server makes constructors of ranges, and they are its own.
           CASE WHEN prosrc ~ '^(multi)?range_constructor' THEN pronamespace::regnamespace::text ELSE proowner::regrole::text END
    FROM pg_proc
    UNION ALL
    SELECT 'type', oid::regtype::text, typowner::regrole::text || coalesce(typacl::text, ''), typowner::regrole::text
    FROM pg_type WHERE typrelid = 0 AND typelem = 0
    UNION ALL
    SELECT 'schema', nspname::text, nspowner::regrole::text || coalesce(nspacl::text, ''), nspowner::regrole::text
    FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL
    SELECT 'database', datname::text, datdba::regrole::text || coalesce(datacl::text, ''), datdba::regrole::text
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'defaults', defaclrole::regrole::text || defaclobjtype::text, defaclacl::text, defaclrole::regrole::text
    FROM pg_default_acl
"""

#: What a statement may leave behind in a session. Of advisory locks those that SQL functions take: one of ours is held for the
#: first webhook of a role until the transaction ends.
STATE = """
    SELECT
        current_user::text, session_user::text,
        (SELECT md5(string_agg(name || '=' || setting, ' ' ORDER BY name)) FROM pg_settings
         WHERE name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')),
        (SELECT array_agg(name ORDER BY name) FROM pg_prepared_statements WHERE from_sql),
        (SELECT array_agg(name ORDER BY name) FROM pg_cursors WHERE name <> ''),
        pg_my_temp_schema(),
        (SELECT array_agg(channel ORDER BY channel) FROM pg_listening_channels() AS channel),
        (SELECT array_agg((classid, objid, objsubid)::text ORDER BY classid, objid, objsubid)
         FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objsubid IN (1, 2))
"""

SPIED = re.compile(r"spied: (\w+) as (\w+)")

_numbers = itertools.count(1)


class Stage:
    """A database of its own with the people, each in a schema of their own."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.database = Database(cluster, f"attack{next(_numbers)}", extension=False)
        self.superuser = self.database.connection
        self._sessions = {"postgres": self.superuser}
        self._groups = []
        self.superuser.execute("DO 'BEGIN END'")

    def set(self, version=None):
        """The extension, and the people with their levels."""
        self.superuser.execute("CREATE EXTENSION pg_webhook" + (f" VERSION '{version}'" if version else ""))
        for person in PEOPLE:
            self.superuser.execute(f"CREATE ROLE {person} LOGIN")
        for person, level in PEOPLE.items():
            self.superuser.execute(f"CREATE SCHEMA {person} AUTHORIZATION {person}; GRANT USAGE ON SCHEMA {person} TO PUBLIC")
            if level:
                self.superuser.execute("SELECT webhook_grant(%s, %s)", (person, level))
        self._log = len(self.cluster.log_text())
        self.takes_these_rights()
        self.allowed = set()

    def group(self, name, holder):
        """A role that `holder` may grant to whom it likes, and be itself."""
        self._groups.append(name)
        self.superuser.execute(f"CREATE ROLE {name}; GRANT {name} TO {holder} WITH ADMIN OPTION; GRANT CREATE ON SCHEMA {holder} TO {name}")
        self.takes_these_rights()

    def takes_these_rights(self):
        """What a superuser has granted since is no gain."""
        self._before = self._rights()

    def as_(self, person):
        """The session of a person; made at the first call."""
        if person not in self._sessions:
            self._sessions[person] = self.cluster.connect(self.database.name, user=person)
            # The language brings settings of its own into a session that has not used it.
            self._sessions[person].execute("DO 'BEGIN END'")
        return self._sessions[person]

    def run(self, person, statement, *arguments):
        """Run a statement as `person`. It must leave the session as it was, whether it fails or not."""
        session = self.as_(person)
        before = session.execute(STATE).fetchone()
        try:
            return session.execute(statement, arguments or None)
        finally:
            after = session.execute(STATE).fetchone()
            assert after == before, f"{statement} left something behind in the session of {person}"

    def value(self, person, statement, *arguments):
        return self.run(person, statement, *arguments).fetchone()[0]

    def tries(self, person, statement, *arguments):
        """Run a statement that may fail; return the error's SQLSTATE, if there is one."""
        try:
            self.run(person, statement, *arguments)
        except psycopg.Error as error:
            return error.sqlstate
        return None

    def spy(self, author, name="spy", argument="int", returns="bool", result="true", also=""):
        """A function of `author` that tells as whom it runs, and becomes superuser where it can."""
        self.as_(author).execute(f"""
            CREATE OR REPLACE FUNCTION {author}.{name}(v {argument}) RETURNS {returns} LANGUAGE plpgsql AS $spy$
            BEGIN
                RAISE LOG 'spied: {author} as %', current_user;
                IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
                    EXECUTE 'ALTER ROLE {author} SUPERUSER';
                END IF;
                {also}
                RETURN {result};
            END $spy$
        """)
        return f"{author}.{name}"

    def spied(self):
        """Who has been spied on, as often as it was."""
        return SPIED.findall(self.cluster.log_text()[self._log:])

    def may_run_as(self, author, person):
        """Code of `author` is meant to run as `person`, as in any trigger."""
        self.allowed.add((author, person))

    def webhook(self, owner, name="hook", url="http://127.0.0.1:9/", **settings):
        """webhook_create by `owner`; returns the id."""
        named = {"name": name, "url": url, **settings}
        arguments = ", ".join(f"{key} => %s" for key in named)
        return self.value(owner, f"SELECT id FROM webhook_create({arguments})", *named.values())

    def ask(self):
        """The questions."""
        for author, person in self.spied():
            assert person == author or (author, person) in self.allowed, f"code of {author} ran as {person}"
        after = self._rights()
        for fact, (value, owner) in self._before.items():
            assert after.get(fact, (value, owner))[0] == value, f"{fact}: {value} became {after[fact][0]}"
        for fact, (value, owner) in after.items():
            assert fact in self._before or owner in (*PEOPLE, *self._groups), f"new: {fact}, {value}"

    def _rights(self):
        rows = self.superuser.execute(RIGHTS).fetchall()
        return {(kind, name): (value, owner) for kind, name, value, owner in rows}

    def close(self):
        for session in self._sessions.values():
            if session is not self.superuser:
                session.close()
        self.database.drop()
        with self.cluster.connect() as admin, contextlib.suppress(psycopg.errors.UndefinedObject):
            admin.execute(f"DROP ROLE {', '.join([*PEOPLE, *self._groups])}")
