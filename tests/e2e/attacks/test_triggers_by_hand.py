"""Our trigger function, attached by people who may attach it: it makes an event only where the webhook's owner has said so."""

import pytest


def set_out(stage, **settings):
    """A webhook of tabler's on a table on which `member` holds TRIGGER; returns the argument of its triggers."""
    stage.as_("tabler").execute("""
        CREATE TABLE tabler.t (id int, note text, hidden text);
        GRANT SELECT, INSERT, TRIGGER ON tabler.t TO member; GRANT INSERT ON tabler.t TO writer;
    """)
    stage.webhook("tabler", table_name="tabler.t", **{"events": "{INSERT}", **settings})
    return stage.superuser.execute(
        "SELECT convert_from(trim('\\x00'::bytea FROM tgargs), 'UTF8'), tgname FROM pg_trigger"
        " WHERE tgrelid = 'tabler.t'::regclass AND tgfoid = 'webhook.capture'::regproc"
    ).fetchone()


def deliveries(stage, owner="tabler"):
    return stage.value(owner, "SELECT count(*) FROM webhook.deliveries")


def test_on_a_table_of_ones_own(stage):
    watch, name = set_out(stage)
    member = stage.as_("member")
    for trigger in (name, "other"):
        member.execute(f"""
            CREATE TABLE member.{trigger} (id int);
            CREATE TRIGGER "{trigger}" AFTER INSERT ON member.{trigger} FOR EACH ROW EXECUTE FUNCTION webhook.capture('{watch}')
        """.replace(f"member.{trigger}", f'member."{trigger}"'))
        stage.run("member", f'INSERT INTO member."{trigger}" VALUES (1)')
    assert deliveries(stage) == 0


def test_under_another_name(stage):
    watch, name = set_out(stage, condition="NEW.id > 10")
    stage.as_("member").execute(
        f"CREATE TRIGGER other AFTER INSERT ON tabler.t FOR EACH ROW EXECUTE FUNCTION webhook.capture('{watch}')"
    )
    stage.run("writer", "INSERT INTO tabler.t VALUES (1)")
    assert deliveries(stage) == 0
    stage.run("writer", "INSERT INTO tabler.t VALUES (11)")
    assert deliveries(stage) == 1


def test_for_another_operation(stage):
    watch, name = set_out(stage)
    stage.as_("member").execute(
        f"CREATE TRIGGER {name}x AFTER UPDATE ON tabler.t FOR EACH ROW EXECUTE FUNCTION webhook.capture('{watch}')"
        .replace(f"{name}x", '"' + name.replace("insert", "update") + '"')
    )
    stage.as_("tabler").execute("INSERT INTO tabler.t VALUES (1); UPDATE tabler.t SET id = 2")
    assert deliveries(stage) == 1


@pytest.mark.parametrize("when", ["", "WHEN (true)", "WHEN (NEW.id > 5)", "WHEN (NEW.id > 10 OR NEW.hidden = 'x')"])
def test_with_another_condition(stage, when):
    watch, name = set_out(stage, condition="NEW.id > 10")
    stage.as_("member").execute(
        f'CREATE OR REPLACE TRIGGER "{name}" AFTER INSERT ON tabler.t FOR EACH ROW {when}'
        f" EXECUTE FUNCTION webhook.capture('{watch}')"
    )
    stage.run("writer", "INSERT INTO tabler.t VALUES (7), (17)")
    assert deliveries(stage) == 0
    problems = stage.run("tabler", "SELECT problem FROM webhook_check()").fetchall()
    assert problems
    assert stage.value("tabler", "SELECT health FROM webhook.webhooks") == "broken"


@pytest.mark.parametrize("event, kind, when, argument, expected", [
    ("INSERT", "TRIGGER", "AFTER INSERT", "{}", 1),
    ("INSERT", "TRIGGER", "AFTER INSERT OR UPDATE", "{}", 0),
    ("INSERT", "CONSTRAINT TRIGGER", "AFTER INSERT", "{}", 0),
    ("INSERT", "TRIGGER", "AFTER INSERT", "{{{}}}", 0),
    ("UPDATE", "TRIGGER", "AFTER UPDATE", "{}", 1),
    ("UPDATE", "TRIGGER", "AFTER UPDATE OF id", "{}", 0),
])
def test_in_another_form(stage, event, kind, when, argument, expected):
    """Under the right name, in the place of one that is gone."""
    watch, name = set_out(stage, events=f"{{{event}}}")
    stage.as_("tabler").execute(f'DROP TRIGGER "{name}" ON tabler.t')
    stage.as_("member").execute(
        f'CREATE {kind} "{name}" {when} ON tabler.t FOR EACH ROW EXECUTE FUNCTION webhook.capture(\'{argument.format(watch)}\')'
    )
    stage.as_("tabler").execute("INSERT INTO tabler.t VALUES (1); UPDATE tabler.t SET id = 2")
    assert deliveries(stage) == expected


def test_with_another_function(stage):
    watch, name = set_out(stage)
    stage.spy("member")
    stage.as_("member").execute(f"""
        CREATE FUNCTION member.trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE OR REPLACE TRIGGER "{name}" AFTER INSERT ON tabler.t FOR EACH ROW EXECUTE FUNCTION member.trg()
    """)
    stage.run("writer", "INSERT INTO tabler.t VALUES (1)")
    assert deliveries(stage) == 0
    assert stage.value("tabler", "SELECT health FROM webhook.webhooks") == "broken"


NO_WATCHES = [
    "'1'", "'0'", "'-1'", "'x'", "''", "'00000000-0000-0000-0000-000000000000'", "'1', '2'", "", f"'{'9' * 10000}'", "'\u00e9'",
]


def test_with_an_argument_that_is_no_watch(stage):
    set_out(stage)
    member = stage.as_("member")
    member.execute("CREATE TABLE member.own (id int)")
    for argument in NO_WATCHES:
        member.execute(f"CREATE OR REPLACE TRIGGER own AFTER INSERT ON member.own FOR EACH ROW EXECUTE FUNCTION webhook.capture({argument})")
        expected = None if argument.count("'") == 2 else "39P01"
        assert stage.tries("member", "INSERT INTO member.own VALUES (1)") == expected


@pytest.mark.parametrize("timing", [
    "BEFORE INSERT ON member.own FOR EACH ROW", "AFTER INSERT ON member.own FOR EACH STATEMENT",
    "AFTER TRUNCATE ON member.own", "INSTEAD OF INSERT ON member.seen FOR EACH ROW",
])
def test_at_another_moment(stage, timing):
    watch, _ = set_out(stage)
    stage.as_("member").execute("CREATE TABLE member.own (id int); CREATE VIEW member.seen AS SELECT * FROM member.own")
    stage.as_("member").execute(f"CREATE TRIGGER own {timing} EXECUTE FUNCTION webhook.capture('{watch}')")
    for statement in ("INSERT INTO member.own VALUES (1)", "TRUNCATE member.own", "INSERT INTO member.seen VALUES (1)"):
        # A write to the view is one to the table, unless a trigger is there instead.
        fires = "INSERT ON" in timing and "INSERT" in statement and ("INSTEAD" not in timing or "seen" in statement)
        assert stage.tries("member", statement) == ("39P01" if fires else None)
    assert deliveries(stage) == 0


def test_called_by_hand(stage):
    for who in ("nobody", "member", "admin"):
        assert stage.tries(who, "SELECT webhook.capture()") == "39P01"


def test_a_partitions_owner_makes_partitions_and_gains_nothing(stage):
    stage.as_("tabler").execute("""
        CREATE TABLE tabler.parts (id int, note text) PARTITION BY RANGE (id);
        GRANT CREATE ON SCHEMA tabler TO parter; GRANT INSERT ON tabler.parts TO writer;
    """)
    stage.webhook("tabler", table_name="tabler.parts", events="{INSERT}", condition="NEW.note <> 'secret'")
    # As whoever owns the table, which is what owning partitions takes; pg_partman does the same.
    stage.run("tabler", "CREATE TABLE tabler.low PARTITION OF tabler.parts FOR VALUES FROM (0) TO (10)")
    stage.run("tabler", "CREATE TABLE tabler.high (note text, id int)")
    stage.run("tabler", "ALTER TABLE tabler.parts ATTACH PARTITION tabler.high FOR VALUES FROM (10) TO (20)")
    stage.superuser.execute("ALTER TABLE tabler.low OWNER TO parter; GRANT USAGE ON SCHEMA tabler TO parter")
    stage.takes_these_rights()
    stage.run("writer", "INSERT INTO tabler.parts VALUES (1, 'a'), (11, 'b'), (2, 'secret')")
    assert deliveries(stage) == 2
    stage.run("parter", "INSERT INTO tabler.low VALUES (3, 'c'), (4, 'secret')")
    assert deliveries(stage) == 3
    name = stage.value("postgres", "SELECT tgname FROM pg_trigger WHERE tgrelid = 'tabler.low'::regclass")
    # A clone is its parent's: its owner can neither replace nor drop it.
    assert stage.tries("parter", f'DROP TRIGGER "{name}" ON tabler.low') is not None
    stage.run("tabler", "ALTER TABLE tabler.parts DETACH PARTITION tabler.high")
    stage.run("tabler", "INSERT INTO tabler.high VALUES ('d', 12)")
    assert deliveries(stage) == 3


def test_partitions_of_a_table_that_somebody_else_watches(stage):
    stage.as_("tabler").execute("""
        CREATE TABLE tabler.parts (id int) PARTITION BY RANGE (id); GRANT SELECT, TRIGGER ON tabler.parts TO member;
    """)
    stage.webhook("member", table_name="tabler.parts", events="{INSERT}")
    stage.run("tabler", "CREATE TABLE tabler.low PARTITION OF tabler.parts FOR VALUES FROM (0) TO (10)")
    stage.run("tabler", "INSERT INTO tabler.parts VALUES (1)")
    assert deliveries(stage, "member") == 1


def test_a_child_with_the_triggers_of_its_parent(stage):
    """As hypertables have them."""
    watch, name = set_out(stage, payload_columns="{id,note}", condition="NEW.id > 10")
    stage.as_("tabler").execute(f"""
        CREATE TABLE tabler.middle () INHERITS (tabler.t); CREATE TABLE tabler.chunk (more int) INHERITS (tabler.middle);
        CREATE TRIGGER "{name}" AFTER INSERT ON tabler.chunk FOR EACH ROW WHEN (NEW.id > 10)
            EXECUTE FUNCTION webhook.capture('{watch}');
        INSERT INTO tabler.chunk VALUES (11, 'a', 'h', 5), (9, 'b', 'h', 5);
    """)
    events = stage.run("tabler", "SELECT schema_name, table_name, payload::json->'record' FROM webhook.deliveries").fetchall()
    assert events == [("tabler", "t", {"id": 11, "note": "a"})]
    stage.run("tabler", "ALTER TABLE tabler.middle NO INHERIT tabler.t")
    stage.run("tabler", "INSERT INTO tabler.chunk VALUES (12, 'a', 'h', 5)")
    assert deliveries(stage) == 1


def test_a_table_of_the_same_name_in_another_database(stage, make_db):
    """pg_dump of one table, or a schema file of a migration tool, brings the trigger along."""
    watch, name = set_out(stage)
    other = make_db(stage.cluster)
    other.run("CREATE TABLE t (id int, note text, hidden text)")
    other.create("theirs", "http://127.0.0.1:9/")
    other.run(f'CREATE TRIGGER "{name}" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION webhook.capture(\'{watch}\')')
    other.run("INSERT INTO t VALUES (1)")
    assert other.value("SELECT count(*) FROM webhook.deliveries") == 0
    other.drop()


def test_without_the_right_to_read(stage):
    stage.as_("tabler").execute("CREATE TABLE tabler.t (id int, hidden text); GRANT TRIGGER ON tabler.t TO member")
    assert stage.tries("member", "SELECT webhook_create('h', 'http://127.0.0.1:9/', 'tabler.t')") == "42501"
    stage.as_("tabler").execute("GRANT SELECT (id) ON tabler.t TO member")
    stage.takes_these_rights()
    assert stage.tries("member", "SELECT webhook_create('h', 'http://127.0.0.1:9/', 'tabler.t')") == "42501"
    assert stage.tries(
        "member", "SELECT webhook_create('h', 'http://127.0.0.1:9/', 'tabler.t', payload_columns => '{id}')"
    ) is None
    assert stage.tries("member", "SELECT webhook_update('h', payload_columns => '{}')") == "42501"


def test_a_trigger_that_is_left_does_nothing(stage):
    set_out(stage)
    with stage.as_("writer").transaction():
        stage.as_("writer").execute("INSERT INTO tabler.t VALUES (1)")
        stage.run("tabler", "SELECT webhook_delete('hook')")
    stage.run("writer", "INSERT INTO tabler.t VALUES (2)")
    assert stage.value("tabler", "SELECT count(*) FROM webhook.deliveries WHERE status <> 'cancelled'") == 0
