"""Levels of roles: what comes with them, what goes with them, and who may change them."""

import psycopg
import pytest

from harness.major import since

EVERYTHING = """
    SELECT format('%s %s on %s', privilege_type, grantee::regrole, object) FROM (
        SELECT p.oid::regprocedure::text AS object, a.* FROM pg_proc AS p, aclexplode(p.proacl) AS a
        UNION ALL
        SELECT c.oid::regclass::text, a.* FROM pg_class AS c, aclexplode(c.relacl) AS a
        UNION ALL
        SELECT n.nspname, a.* FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
    ) AS held
    WHERE grantee <> 0 AND grantee::regrole::text LIKE current_database() || '\\_%' ORDER BY 1
"""


@pytest.fixture
def role(db, cluster):
    """Makes roles of this test; each can log in and owns a schema with a table `things` in it."""
    made = []

    def role(name, level=None, options=""):
        full = f"{db.name}_{name}"
        db.run(f"CREATE ROLE {full} LOGIN {options}")
        db.run(f"CREATE SCHEMA {full} AUTHORIZATION {full}")
        with cluster.connect(db.name, user=full) as connection:
            connection.execute("CREATE TABLE things (id int)")
        made.append(full)
        if level:
            db.run("SELECT webhook_grant(%s, %s)", full, level)
        return full

    yield role
    for name in made:
        db.run(f"DROP OWNED BY {name} CASCADE")
        db.run(f"DROP ROLE {name}")


def refused(connection, statement, *arguments):
    """Run a statement that must fail; return its SQLSTATE."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement, arguments or None)
    return caught.value.diag.sqlstate


def outcome(connection, statement, *arguments):
    """What a statement returns, or its SQLSTATE."""
    try:
        cursor = connection.execute(statement, arguments or None)
        return cursor.fetchone()[0] if cursor.description else None
    except psycopg.Error as error:
        return error.diag.sqlstate


def test_one_level_at_a_time_and_nothing_left_after_it(db, role):
    ann = role("ann")
    held = lambda: {row[0] for row in db.rows(EVERYTHING) if row[0].startswith(("SELECT", "EXECUTE", "USAGE"))}
    own = held()
    of = {}
    for level in ("viewer", "member", "admin"):
        db.run("SELECT webhook_grant(%s, %s)", ann, level)
        of[level] = held() - own
        assert db.rows("SELECT role::regrole::text, level FROM webhook.level") == [(ann, level)]
    assert of["viewer"] < of["member"] < of["admin"]
    only = {text.split(" on ")[1].split("(")[0] for text in of["admin"] - of["member"]}
    assert only == {"webhook_arm", "webhook_backlog_export", "webhook_backlog_import", "webhook_grant", "webhook_revoke", "webhook_start", "webhook_stop", "webhook.unfinished", "webhook.workers", "webhook.workers_status"}
    for level in ("member", "viewer", "admin", "viewer"):
        db.run("SELECT webhook_grant(%s, %s)", ann, level)
        assert held() - own == of[level]
    assert refused(db.connection, "SELECT webhook_revoke(%s, 'admin')", ann) == "42704"
    assert held() - own == of["viewer"]
    db.run("SELECT webhook_revoke(%s, 'viewer')", ann)
    assert held() == own
    assert refused(db.connection, "SELECT webhook_revoke(%s, 'viewer')", ann) == "42704"


def test_a_rollback_undoes_a_grant(db, role):
    ann = role("ann")
    before = db.rows(EVERYTHING)
    with pytest.raises(ZeroDivisionError), db.connection.transaction():
        db.run("SELECT webhook_grant(%s, 'admin')", ann)
        raise ZeroDivisionError
    assert db.rows(EVERYTHING) == before
    assert db.rows("SELECT * FROM webhook.level") == []


def test_the_schema_of_the_functions(cluster, make_db):
    """Where PUBLIC cannot use it, a level brings USAGE on it; what a role had before, it keeps."""
    db = make_db(cluster, extension=False)
    db.run("CREATE SCHEMA hooks; CREATE EXTENSION pg_webhook SCHEMA hooks")
    names = [f"{db.name}_ann", f"{db.name}_bob"]
    for name in names:
        db.run(f"CREATE ROLE {name}")
    ann, bob = names
    usage = "SELECT has_schema_privilege(%s, 'hooks', 'USAGE')"
    db.run(f"GRANT USAGE ON SCHEMA hooks TO {bob}")
    for name in names:
        db.run("SELECT hooks.webhook_grant(%s, 'member')", name)
        assert db.value(usage, name)
        db.run("SELECT hooks.webhook_grant(%s, 'viewer')", name)
        assert db.value(usage, name)
        db.run("SELECT hooks.webhook_revoke(%s, 'viewer')", name)
    assert not db.value(usage, ann)
    assert db.value(usage, bob)
    db.run("GRANT USAGE ON SCHEMA hooks TO PUBLIC")
    db.run("SELECT hooks.webhook_grant(%s, 'member')", ann)
    db.run("REVOKE USAGE ON SCHEMA hooks FROM PUBLIC")
    assert not db.value(usage, ann)
    for name in names:
        db.run(f"DROP OWNED BY {name}; DROP ROLE {name}")
    db.drop()


def test_who_may_change_levels(db, role, cluster):
    """EXECUTE alone, as GRANT ... ON ALL FUNCTIONS gives it, makes nobody an admin."""
    member, admin, greedy = role("member", "member"), role("admin", "admin"), role("greedy")
    db.run(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {greedy}")
    grant, revoke = "SELECT webhook_grant(%s, 'admin')", "SELECT webhook_revoke(%s, 'admin')"
    for name in (member, greedy):
        with cluster.connect(db.name, user=name) as connection:
            assert refused(connection, grant, name) == "42501"
            assert refused(connection, revoke, admin) == "42501"
    with cluster.connect(db.name, user=admin) as connection:
        connection.execute(grant, [greedy])
        connection.execute(revoke, [greedy])
        connection.execute(revoke, [admin])
        assert refused(connection, grant, admin) == "42501"
    assert db.rows("SELECT role::regrole::text, level FROM webhook.level") == [(member, "member")]


def test_arguments(db, role):
    ann = role("ann")
    for arguments, state in [
        ((None, "member"), "22004"), ((ann, None), "22004"),
        ((ann, "owner"), "22023"), ((ann, "Admin"), "22023"), ((ann, ""), "22023"),
        (("-", "admin"), "42704"), (("0", "admin"), "42704"), (("4000000000", "admin"), "42704"),
        (("public", "admin"), "42704"), ((f"{db.name}_nobody", "admin"), "42704"),
    ]:
        for function in ("webhook_grant", "webhook_revoke"):
            statement = f"SELECT {function}(%s::regrole, %s)"
            assert refused(db.connection, statement, *arguments) == state, (function, arguments)
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        db.run("SELECT webhook_grant(%s, 'owner')", ann)
    assert caught.value.diag.message_hint == "It is one of viewer, monitor, member, admin."
    assert db.rows("SELECT * FROM webhook.level") == []


def test_a_role_with_a_name_like_a_statement(db):
    name = f'{db.name} "; ALTER ROLE postgres NOLOGIN; --'
    quoted = '"' + name.replace('"', '""') + '"'
    db.run(f"CREATE ROLE {quoted}")
    db.run("SELECT webhook_grant(%s::regrole, 'admin')", quoted)
    assert db.value("SELECT has_function_privilege(%s, 'webhook_arm(boolean, boolean)', 'EXECUTE')", name)
    db.run("SELECT webhook_revoke(%s::regrole, 'admin')", quoted)
    assert db.value("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'postgres'")
    db.run(f"DROP ROLE {quoted}")  # which nothing depends on


def test_a_dropped_role_leaves_no_level(db, role):
    name = f"{db.name}_gone"
    db.run(f"CREATE ROLE {name}")
    db.run("SELECT webhook_grant(%s, 'admin')", name)
    assert refused(db.connection, f"DROP ROLE {name}") == "2BP01"
    db.run(f"DROP OWNED BY {name}; DROP ROLE {name}")
    role("ann", "viewer")
    assert db.value("SELECT count(*) FROM webhook.level") == 1


def test_a_level_ends_with_what_the_role_owns(db, people):
    """DROP OWNED takes its privileges; a level by another role does not bring it back."""
    owner, admin, group = people("own", "member"), people("adm", "admin"), people("grp", "member")
    owner.run("SELECT webhook_create('hook', 'http://127.0.0.1:9/')")
    seen = "SELECT name FROM webhook.webhooks"
    assert admin.rows(seen) == [("hook",)]
    db.run(f"GRANT {group.role} TO {admin.role}; DROP OWNED BY {admin.role}")
    assert admin.rows(seen) == []
    for statement in ("SELECT webhook_pause('hook')", "SELECT webhook_update('hook', url => 'http://127.0.0.1:8/')", "SELECT webhook_delete('hook')"):
        assert refused(admin.connection, statement).startswith("42704")
    db.run("SELECT webhook_grant(%s, 'admin')", admin.role)
    assert admin.rows(seen) == [("hook",)]


def test_a_level_that_has_ended_counts_for_nothing(cluster, make_db):
    """Neither where a right ends with being named an emitter, nor for what the next level brings."""
    db = make_db(cluster, extension=False)
    db.run("CREATE SCHEMA hooks; CREATE EXTENSION pg_webhook SCHEMA hooks; SET search_path = hooks, public")
    app, granted = f"{db.name}_app", f"{db.name}_granted"
    for name in (app, granted):
        db.run(f"CREATE ROLE {name}")
        db.run("SELECT webhook_grant(%s, 'member')", name)
        db.run(f"DROP OWNED BY {name}")

    def rights(name):
        return db.rows(
            "SELECT has_schema_privilege(%s, 'hooks', 'USAGE'), has_function_privilege(%s, 'webhook_emit(text, jsonb, text)', 'EXECUTE')",
            name, name,
        )

    assert rights(app) == [(False, False)]
    db.run("SELECT webhook_create('hook', 'http://127.0.0.1:9/', events => '{a.b}', emitters => %s)", [app])
    assert rights(app) == [(True, True)]
    db.run("SELECT webhook_update('hook', emitters => '{}')")
    assert rights(app) == [(False, False)]
    db.run(f"GRANT USAGE ON SCHEMA hooks TO {granted}")
    db.run("SELECT webhook_grant(%s, 'viewer')", granted)
    db.run("SELECT webhook_revoke(%s, 'viewer')", granted)
    assert rights(granted) == [(True, False)]
    for name in (app, granted):
        db.run(f"DROP OWNED BY {name}; DROP ROLE {name}")
    db.drop()


def test_levels_survive_a_dump(db, role, cluster, make_db, receiver):
    ann, root = role("ann", "member"), role("root", "admin")
    with cluster.connect(db.name, user=ann) as connection:
        connection.execute("SELECT webhook_create('anns', %s, 'things')", [receiver.url("/")])
    gone = f"{db.name}_gone"
    db.run(f"CREATE ROLE {gone}")
    db.run("SELECT webhook_grant(%s, 'admin')", gone)
    db.run(f"DROP OWNED BY {gone}; DROP ROLE {gone}")
    before = db.rows(EVERYTHING.replace("current_database()", f"'{db.name}'"))
    file = cluster.folder / f"{db.name}.sql"
    cluster._run("pg_dump", "-h", cluster.folder, "-U", "postgres", "-f", file, db.name)
    copy = make_db(cluster, extension=False)
    cluster._run(
        "psql", "-h", cluster.folder, "-U", "postgres", "-d", copy.name, "-v", "ON_ERROR_STOP=1", "-q", "-f", file,
    )
    assert copy.rows(EVERYTHING.replace("current_database()", f"'{db.name}'")) == before
    assert copy.rows("SELECT role::regrole::text, level FROM webhook.level ORDER BY 2") == [(root, "admin"), (ann, "member")]
    for name, seen in ((ann, 1), (root, 1)):
        with cluster.connect(copy.name, user=name) as connection:
            assert connection.execute("SELECT count(*) FROM webhook.webhooks").fetchone() == (seen,)
    copy.drop()


# --- what each level sees ---------------------------------------------------------------------------


NAMES = "SELECT name FROM webhook.webhooks ORDER BY name"


@pytest.fixture
def hooks(db, role, cluster, receiver):
    """Two members with a webhook and a delivery each."""
    names = {name: role(name, "member") for name in ("ann", "bob")}
    for name, full in names.items():
        with cluster.connect(db.name, user=full) as connection:
            connection.execute(f"SELECT webhook_create('{name}s', %s, 'things')", [receiver.url("/")])
            connection.execute("INSERT INTO things VALUES (1)")
    db.wait_for_status(2)
    return names


def seen(cluster, db, user, *before):
    with cluster.connect(db.name, user=user) as connection:
        for statement in before:
            connection.execute(statement)
        return [row[0] for row in connection.execute(NAMES)]


def test_membership(db, role, cluster, hooks):
    """Whoever has the rights of the owner, through however many groups, sees and manages its webhooks."""
    group, carl = role("group", "member"), role("carl")
    db.run(f"GRANT {hooks['ann']} TO {group}; GRANT {group} TO {carl}")
    assert seen(cluster, db, group) == seen(cluster, db, carl) == ["anns"]
    with cluster.connect(db.name, user=carl) as connection:
        connection.execute("SELECT webhook_pause('anns')")
        assert refused(connection, "SELECT webhook_pause('bobs')") == "42704"
    db.run(f"REVOKE {hooks['ann']} FROM {group}")
    assert seen(cluster, db, carl) == []
    with cluster.connect(db.name, user=carl) as connection:
        assert refused(connection, "SELECT webhook_resume('anns')") == "42704"


def test_rights_that_are_not_inherited(db, role, cluster, hooks):
    """NOINHERIT: only as the other role, not by being its member."""
    carl = role("carl", "member", "NOINHERIT")
    root = role("root", "admin")
    db.run(f"GRANT {hooks['ann']}, {root} TO {carl}")
    assert seen(cluster, db, carl) == []
    assert seen(cluster, db, carl, f"SET ROLE {hooks['ann']}") == ["anns"]
    assert seen(cluster, db, carl, f"SET ROLE {root}") == ["anns", "bobs"]
    with cluster.connect(db.name, user=carl) as connection:
        assert refused(connection, "SELECT webhook_pause('anns')") == "42704"
        assert refused(connection, "SELECT webhook_grant(%s, 'admin')", carl) == "42501"


@since(16)
@pytest.mark.parametrize("options, rights, becomes, hears", [
    ("INHERIT TRUE, SET TRUE", True, True, True),
    ("INHERIT TRUE, SET FALSE", True, False, True),
    ("INHERIT FALSE, SET TRUE", False, True, True),
    ("INHERIT FALSE, SET FALSE", False, False, False),
    ("INHERIT FALSE, SET FALSE, ADMIN TRUE", False, False, False),
])
def test_what_a_membership_gives_is_what_it_was_granted_with(db, role, cluster, hooks, options, rights, becomes, hears):
    """Its own options count and not the member's: of a webhook's owner, of an admin, of the readers of a table, and of
    a role that is heard, also through a group."""
    ann, bob = hooks["ann"], hooks["bob"]
    carl, group, root, readers = role("carl", "member"), role("group"), role("root", "admin"), role("readers")
    with cluster.connect(db.name, user=bob) as connection:
        connection.execute(f"GRANT USAGE ON SCHEMA {bob} TO PUBLIC; GRANT SELECT, TRIGGER ON things TO {readers}")
        connection.execute("SELECT webhook_update('bobs', events => '{INSERT,a.told}', emitters => %s)", [[readers]])
    with cluster.connect(db.name, user=ann) as connection:
        connection.execute("SELECT webhook_update('anns', events => '{INSERT,a.told}')")
    own = "SELECT webhook_create('own', 'http://127.0.0.1:9/')"
    with cluster.connect(db.name, user=carl) as connection:
        connection.execute(own)
    # To a member that inherits by itself.
    db.run(f"GRANT {ann} TO {group}; GRANT {group}, {readers} TO {carl} WITH {options}")

    assert seen(cluster, db, carl) == (["anns", "own"] if rights else ["own"])
    with cluster.connect(db.name, user=carl) as connection:
        for another in (group, ann):
            if becomes:
                assert seen(cluster, db, carl, f"SET ROLE {another}") == ["anns"]
            else:
                assert outcome(connection, f"SET ROLE {another}") == "42501"
        assert outcome(connection, "SELECT webhook_emit('a.told', '{}')") == (2 if hears else 0)
        assert (outcome(connection, "SELECT webhook_pause('anns')") == "42704") is not rights
        assert (outcome(connection, "SELECT webhook_update('own', owner => %s)", ann) == "42501") is not rights
        watch = "SELECT name FROM webhook_create('read', 'http://127.0.0.1:9/', %s::regclass)"
        assert outcome(connection, watch, f"{bob}.things") == ("read" if rights else "42501")
        assert outcome(connection, "SELECT webhook_grant(%s, 'admin')", carl) == "42501"
        db.run(f"GRANT {root} TO {carl} WITH {options}")
        assert ("bobs" in seen(cluster, db, carl)) is rights
        assert outcome(connection, "SELECT webhook_grant(%s, 'admin')", carl) == ("" if rights else "42501")
    # It ends like any other right on the table.
    with cluster.connect(db.name, user=bob) as connection:
        captured = "SELECT count(*) FROM webhook.deliveries WHERE webhook = 'read'"
        connection.execute("INSERT INTO things VALUES (2)")
        assert db.value(captured) == rights
        db.run(f"GRANT {readers} TO {carl} WITH INHERIT FALSE")
        connection.execute("INSERT INTO things VALUES (3)")
        assert db.value(captured) == rights


def test_admins(db, role, cluster, hooks):
    """An admin manages all webhooks; so does a member of an admin; nobody else does."""
    root, viewer = role("root", "admin"), role("viewer", "viewer")
    carl = role("carl")
    db.run(f"GRANT {root} TO {carl}")
    everything = ["anns", "bobs"]
    assert seen(cluster, db, root) == seen(cluster, db, carl) == everything
    assert seen(cluster, db, viewer) == []
    delivery = db.value("SELECT id FROM webhook.deliveries WHERE webhook = 'anns'")
    with cluster.connect(db.name, user=carl) as connection:
        for view in ("deliveries", "attempts"):
            assert connection.execute(f"SELECT count(*) FROM webhook.{view}").fetchone() == (2,)
        connection.execute("SELECT webhook_pause('anns')")
        connection.execute("SELECT webhook_replay(%s)", [delivery])
        # It manages webhooks, not tables.
        assert refused(connection, "SELECT webhook_watch('anns', %s::regclass)", f"{hooks['bob']}.things") == "42501"
        for table in (f"{hooks['ann']}.things", "webhook.secret", "webhook.webhook", "webhook.visible"):
            assert refused(connection, f"SELECT * FROM {table}") == "42501"
        connection.execute("SELECT webhook_delete('bobs')")
    assert seen(cluster, db, root) == ["anns"]
    db.run("SELECT webhook_grant(%s, 'member')", root)
    assert seen(cluster, db, root) == seen(cluster, db, carl) == []


def test_a_viewer_of_the_owners_webhooks(db, role, cluster, hooks):
    """A viewer that is a member of the owner sees the webhooks and has the owner's rights."""
    viewer = role("viewer", "viewer")
    with cluster.connect(db.name, user=viewer) as connection:
        for statement in ("SELECT webhook_pause('anns')", "SELECT webhook_replay(1)"):
            assert refused(connection, statement) == "42501"
        assert connection.execute("SELECT count(*) FROM webhook.worker").fetchone() == (1,)


def test_what_views_ask_for_their_reader_says_no_more_than_they_do(db, role, cluster, hooks):
    """Anybody may call it, as whoever has been granted a view and no level has to."""
    stranger, member, root = role("stranger"), role("member"), role("root", "admin")
    db.run(f"GRANT {hooks['ann']} TO {member}")
    db.run("SELECT webhook_pause(name) FROM webhook.webhooks")
    for reader, names in ((stranger, []), (member, ["anns"]), (root, ["anns", "bobs"])):
        with cluster.connect(db.name, user=reader) as connection:
            rows = connection.execute("SELECT name, deleted, with_contents FROM webhook.seen_by_reader() ORDER BY 1").fetchall()
            assert rows == [(name, False, True) for name in names]
            told = connection.execute("SELECT others FROM webhook.told_to_reader()").fetchall()
            assert len(told) == len(names) and all("paused by role" in others for (others,) in told)


def test_concurrent_grants(db, role, cluster):
    """Levels change one after the other; nobody meets an internal error."""
    import threading

    names = [role(f"r{i}") for i in range(8)]
    errors = []

    def work(name):
        try:
            with cluster.connect(db.name) as connection:
                for level in ("viewer", "member", "admin", "member"):
                    connection.execute("SELECT webhook_grant(%s, %s)", [name, level])
        except psycopg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert db.value("SELECT count(*) FROM webhook.level WHERE level = 'member'") == 8
