"""Ordinary roles, what they may do, and what the server's sessions look like."""

import contextlib

from .session import Session

RIGHTS = {
    "roles": "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles",
    "memberships": "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members",
    "databases": "SELECT datname, datdba::regrole::text, datacl::text FROM pg_database WHERE datname = current_database()",
    "schemas": "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'",
    "tables": "SELECT oid::regclass::text, relowner::regrole::text, relacl::text FROM pg_class"
              " WHERE relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')",
    "functions": "SELECT oid::regprocedure::text, proowner::regrole::text, proacl::text, prosrc FROM pg_proc WHERE oid >= 16384",
}

# Settings of the session, and what else a session can hold. Placeholders of settings that nobody has defined stay
# when they are rolled back, as for any SET.
STATE = {
    "settings": "SELECT name, setting FROM pg_settings ORDER BY name",
    "user": "SELECT current_user, session_user, current_setting('role')",
    "prepared": "SELECT name, statement FROM pg_prepared_statements ORDER BY name",
    "cursors": "SELECT name, statement FROM pg_cursors WHERE name <> '' ORDER BY name",
    "temporary": "SELECT pg_my_temp_schema()::regnamespace::text,"
                 " (SELECT count(*) FROM pg_type WHERE typnamespace = pg_my_temp_schema()),"
                 " (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema())",
    "channels": "SELECT * FROM pg_listening_channels() ORDER BY 1",
    "locks": "SELECT locktype, classid, objid, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' ORDER BY 1, 2, 3",
}


def state(connection):
    """Everything that a session holds."""
    # A library that a function needs stays loaded, with its settings.
    connection.execute("DO $$ BEGIN END $$")
    return {what: connection.execute(query).fetchall() for what, query in STATE.items()}


def rights(db):
    """Who owns what, and who may do what, in a database."""
    return {what: sorted(map(repr, db.rows(query))) for what, query in RIGHTS.items()}


class People:
    """Makes roles of one database and connects as them; each owns a schema of its name."""

    def __init__(self, cluster, db):
        self.cluster, self.db = cluster, db
        self._stack = contextlib.ExitStack()
        self._made = []

    def __call__(self, name, level=None, member_of=(), attributes="LOGIN"):
        role = f"{self.db.name}_{name}"
        self.db.judge.run(f"CREATE ROLE {role} {attributes}")
        self.db.judge.run(f"CREATE SCHEMA {role} AUTHORIZATION {role}; GRANT USAGE ON SCHEMA {role} TO PUBLIC")
        self._made.append(role)
        for group in member_of:
            self.db.judge.run(f"GRANT {group.role} TO {role}")
        if level:
            self.db.judge.run("SELECT webhook_grant(%s, %s)", role, level)
        person = self._stack.enter_context(self.cluster.connect(self.db.name, user=role)) if "NOLOGIN" not in attributes else None
        return Person(role, person)

    def close(self):
        self._stack.close()
        for role in self._made:
            self.db.judge.run(f"DROP OWNED BY {role} CASCADE")
        for role in self._made:
            self.db.judge.run(f"DROP ROLE {role}")


class Person(Session):
    """A role and a session of it."""

    def __init__(self, role, connection):
        super().__init__(connection)
        self.role = role
