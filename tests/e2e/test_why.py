"""webhook_why is asked by somebody who does not know what is wrong, and may be mistaken in the question itself: which table is meant, what
its columns are called. test_status.py has what is wrong with a webhook."""

import json

import psycopg
import pytest

from harness.status import INSERT, check, explains, furnish, health, why


@pytest.fixture
def items(db, receiver):
    return furnish(db, receiver)


@pytest.fixture
def told(items):
    """What the session is told beside answers."""
    notices = []
    items.connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    return notices


def previewed(db, change=INSERT, table=None):
    """Body and reason."""
    return db.rows("SELECT body, reason FROM webhook_preview('hook', %s, %s, %s, %s)", *change, table)[0]


def captured(db):
    return db.judge.value("SELECT count(*) FROM webhook.event")


# --- which table is meant ----------------------------------------------------------------------------------


def test_a_table_whose_name_another_one_has(items):
    """A row of items is no event, and one of what was called so is."""
    items.run("ALTER TABLE items RENAME TO old; CREATE TABLE items (id int, remark text)")
    problem = "table public.items is called public.old now, and another one has its name"
    assert health(items) == ("broken", problem)
    # Of columns that only the other one has, too.
    for row in (INSERT, ("INSERT", '{"remark": "x"}', None)):
        [(step, verdict, found, hint)] = why(items, row)
        assert (step, verdict, found) == ("capture", "no event", problem)
        assert hint == check(items)[0][2]
        assert previewed(items, row) == (None, problem)
    explains(items, "the webhook does not watch that table", "no event", table="items")
    assert [row[1] for row in why(items, table="old")] == ["sent"]
    items.run("INSERT INTO items VALUES (1)")
    assert captured(items) == 0
    items.run("INSERT INTO old VALUES (1)")
    assert captured(items) == 1
    items.run("SELECT webhook_update('hook', table_name => 'old')")
    assert [row[1] for row in why(items)] == ["sent"]


def test_a_table_whose_name_one_of_somebody_else_has(items, people, told):
    """Hardly the one that is meant: the answer is about the watched one, and says so."""
    other = people("oth")
    items.judge.run(f"GRANT CREATE ON SCHEMA public TO {other.role}")
    items.run("ALTER TABLE items RENAME TO old")
    other.run("CREATE TABLE public.items (id int)")
    assert health(items) == ("healthy", None)
    assert [row[1] for row in why(items)] == ["sent"]
    assert any("public.old" in text and "public.items" in text for text in told), told
    told.clear()
    assert [row[1] for row in why(items, table="old")] == ["sent"] and told == []


# --- what the row is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, argument, key", [
    (("INSERT", '{"idd": 1}', None), "new_row", "idd"),
    (("INSERT", '{"id": 1, "Note": "x"}', None), "new_row", "Note"),
    (("UPDATE", '{"id": 1}', '{"id": 1, "gone": 1}'), "old_row", "gone"),
    (("UPDATE", '{"ctid": 1}', '{"id": 1}'), "new_row", "ctid"),
    (("DELETE", None, '{"a\\"b": 1}'), "old_row", 'a"b'),
    (("DELETE", '{"": 1}', None), "new_row", ""),
])
def test_a_key_that_is_no_column_is_a_mistake(items, change, argument, key):
    """Otherwise its value would be left out, and a condition over the column that was meant would not hold."""
    items.run("ALTER TABLE items ADD gone int; ALTER TABLE items DROP gone")
    items.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE,DELETE}')")
    for ask in (why, previewed):
        with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
            ask(items, change)
        said = caught.value.diag
        assert said.message_primary == f'{argument} has the key "{key}", which is no column of table public.items'
        assert "columns" in said.message_hint


@pytest.mark.parametrize("row", ["[1]", "null", "7", '"id"'])
def test_a_row_is_an_object(items, row):
    for ask in (why, previewed):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match='"new_row" must be a JSON object'):
            ask(items, ("INSERT", row, None))


def test_columns_of_now_in_an_old_snapshot(items):
    with items.connection.transaction():
        items.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        items.run("SELECT count(*) FROM pg_class")
        items.judge.run("ALTER TABLE items ADD size int")
        assert [row[1] for row in why(items, ("INSERT", '{"id": 1, "size": 2}', None))] == ["sent"]


@pytest.mark.parametrize("change, missing", [
    (("INSERT", None, None), "new_row"), (("UPDATE", '{"id": 1}', None), "old_row"), (("UPDATE", None, '{"id": 1}'), "new_row"),
    (("DELETE", None, None), "old_row"),
    (("INSERT", '{"id": 1}', None), None), (("UPDATE", '{"id": 1}', '{"id": 2}'), None), (("DELETE", '{"id": 1}', None), None),
    (("TRUNCATE", None, None), None), (("a.b", None, None), None), (("TEST", None, None), None),
])
def test_a_row_that_is_missing_is_told(items, told, change, missing):
    items.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE,DELETE,TRUNCATE,a.*}')")
    why(items, change)
    expected = f"{missing} is not given: the columns of that row are taken for null"
    assert told == ([expected] if missing else [])


@pytest.mark.parametrize("condition", [None, "NEW.id > 0"])
@pytest.mark.parametrize("off", [False, True])
def test_values_that_do_not_fit_are_no_fault_of_a_condition(items, condition, off):
    if condition:
        items.run("SELECT webhook_update('hook', events => '{INSERT}', condition => %s)", condition)
    if off:
        items.run("ALTER TABLE items DISABLE TRIGGER ALL")
    change = ("INSERT", '{"id": "five"}', None)
    step, verdict, problem, hint = why(items, change)[0]
    assert (step, verdict) == ("row", "the statement fails") and 'integer: "five"' in problem
    assert "condition" not in hint and "fit the columns" in hint
    with pytest.raises(psycopg.Error, match='integer: "five"'):
        items.run("INSERT INTO items VALUES ('five')")


def test_a_condition_that_fails_is_one(items):
    items.run("SELECT webhook_update('hook', events => '{INSERT}', condition => '1 / (NEW.id - 9) > 0')")
    step, verdict, problem, hint = why(items)[0]
    assert (step, verdict, problem) == ("row", "the statement fails", "division by zero") and "evaluates the condition" in hint


# --- all that is in the way --------------------------------------------------------------------------------

DROP_TRIGGER = (
    "DO $$ BEGIN EXECUTE (SELECT format('DROP TRIGGER %I ON items', tgname) FROM pg_trigger WHERE tgname ~ '^_webhook_.*insert'); END $$"
)
REPLACE_TRIGGER = (
    "DO $$ BEGIN EXECUTE (SELECT format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON items FOR EACH ROW WHEN (NEW.id < 0)"
    " EXECUTE FUNCTION webhook.capture(%L)', tgname, substr(tgname, 10, 36)) FROM pg_trigger WHERE tgname ~ '^_webhook_.*insert'); END $$"
)


@pytest.mark.parametrize("trigger", [DROP_TRIGGER, REPLACE_TRIGGER])
def test_each_thing_that_webhook_check_names_is_in_the_answer(items, trigger):
    """A trigger and a column of payload_columns that are not as they should be, and a transform that is gone."""
    items.run("CREATE FUNCTION shape(body jsonb) RETURNS jsonb RETURN body")
    items.run("SELECT webhook_update('hook', payload_columns => '{note}', transform => 'shape(jsonb)')")
    items.run(f"ALTER TABLE items DROP note; DROP FUNCTION shape CASCADE; {trigger}")
    checked = {problem: hint for _, problem, hint in check(items)}
    found = why(items, ("INSERT", '{"id": 1}', None))
    assert [row[:2] for row in found] == [("capture", "no event"), ("capture", "no event"), ("transform", "dead letter")]
    told = {problem: hint for *_, problem, hint in found[:2]}
    assert len(checked) == 3 and len(told) == 2 and told.items() < checked.items(), (checked, told)
    assert found[2][2] == "the transform of the webhook has been dropped"
    column = next(hint for problem, hint in told.items() if "payload_columns" in problem)
    assert "right" not in column and "payload_columns" in column, "no right is missing"


def test_a_test_has_no_transform(items):
    items.run("CREATE FUNCTION shape(body jsonb) RETURNS jsonb RETURN body")
    items.run("SELECT webhook_update('hook', transform => 'shape(jsonb)'); DROP FUNCTION shape CASCADE")
    items.wait_for_worker()
    assert ("sending", "sent") in [row[:2] for row in why(items, ("TEST", None, None))]


MAKE = "CREATE OR REPLACE FUNCTION shape(body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN {} END $$"


def test_what_to_do_about_a_transform_that_fails_does_it(items, receiver):
    """The hint, as it stands."""
    items.run(MAKE.format("RAISE 'no such thing';"))
    items.run("SELECT webhook_update('hook', transform => 'shape(jsonb)')")
    items.run("INSERT INTO items VALUES (1, 'a'), (2, 'b')")
    step, verdict, _, hint = why(items)[0]
    assert (step, verdict) == ("transform", "dead letter")
    items.run(MAKE.format("RETURN body;"))
    assert len(items.rows(hint[hint.index("SELECT"):hint.index(" transforms")])) == 2
    sent = receiver.wait(2)
    assert sorted(json.loads(request.body)["record"]["id"] for request in sent) == [1, 2]


def test_of_a_transform_that_fails_the_statement_nothing_is_left_to_send(items):
    items.run(MAKE.format("RAISE 'no such thing';"))
    items.run("SELECT webhook_update('hook', transform => 'shape(jsonb)', on_transform_error => 'fail')")
    _, verdict, _, hint = why(items)[0]
    assert verdict == "the statement fails" and "replay" not in hint and "on_transform_error => 'dead'" in hint
