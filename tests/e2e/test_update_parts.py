"""webhook_update changes one of several tables and single headers, and goes back to defaults."""

import json

import psycopg
import pytest

from test_if_exists import EVERYTHING, SETTINGS, URL, ann, make  # noqa: F401


def update(person, arguments):
    person.run(f"SELECT webhook_update('hook', {arguments})")


def tables(person):
    return person.value("SELECT tables FROM webhook.webhooks WHERE name = 'hook'")


# --- one of several tables -------------------------------------------------------------------------------


@pytest.fixture
def two(ann):
    make(ann)
    ann.run("SELECT webhook_watch('hook', 'others', '{INSERT}', condition => 'NEW.id > 1')")
    return ann


def test_one_of_several_tables_is_changed_where_it_is_named(two, db, receiver):
    role = two.role
    update(two, "table_name => 'others', events => '{INSERT,DELETE}', condition => '', payload_columns => '{id}'")
    update(two, "table_name => 'things', condition => 'NEW.id > 5', events => '{INSERT}'")
    assert tables(two) == {
        f"{role}.others": {"events": ["INSERT", "DELETE"], "payload_columns": ["id"]},
        f"{role}.things": {"events": ["INSERT"], "condition": "NEW.id > 5"},
    }
    update(two, f"url => '{receiver.url('/')}'")
    two.run("INSERT INTO things VALUES (5), (6); INSERT INTO others VALUES (1)")
    db.wait_for_status(2, "delivered")
    assert sorted(json.loads(request.body)["record"]["id"] for request in receiver.requests) == [1, 6]


def test_which_of_several_is_to_be_said(two):
    before = tables(two)
    for arguments, error, says in [
        ("events => '{INSERT}'", psycopg.errors.InvalidParameterValue, "watches 2 tables"),
        ("columns => '{id}'", psycopg.errors.InvalidParameterValue, "watches 2 tables"),
        ("reset => '{condition}'", psycopg.errors.InvalidParameterValue, "watches 2 tables"),
        ("table_name => 'pg_class'", psycopg.errors.UndefinedObject, "does not watch table pg_catalog.pg_class"),
        ("table_name => 'others', events => '{a.b}'", psycopg.errors.InvalidParameterValue, "at least one operation"),
    ]:
        with pytest.raises(error, match=says) as caught:
            update(two, arguments)
        if "2 tables" in says:
            assert caught.value.diag.message_hint == "table_name says which of them is meant."
    assert tables(two) == before
    # What is said of none of them needs no table.
    update(two, "description => 'both'")
    update(two, "events => '{a.b}'")
    assert tables(two) == before


# --- back to defaults ------------------------------------------------------------------------------------


def test_what_is_reset_is_as_in_a_new_webhook(ann):
    make(ann, f"'things', {EVERYTHING}")
    update(ann, "reset => '{events,columns,condition,payload_columns,transform,headers,description,enabled,format,signature,"
                "signature_header,max_retries,timeout_seconds,retry_backoff_seconds,retry_for,max_concurrency,rate_limit,"
                "on_transform_error,emitters,max_backlog,max_backlog_bytes,max_backlog_age,dead_letter_retention,disable_after,"
                "batch_size,batch_bytes,batch_wait,batch_format}'")
    ann.run(f"SELECT webhook_create('fresh', '{URL}', 'things')")
    assert ann.rows(SETTINGS, "hook") == ann.rows(SETTINGS, "fresh")


@pytest.mark.parametrize("name, value, default", [
    ("max_retries", "3", None), ("timeout_seconds", "3", 30), ("description", "'x'", None), ("enabled", "false", True),
    ("rate_limit", "3", None), ("on_transform_error", "'fail'", "dead"), ("headers", "'{\"X-A\": \"1\"}'", {}),
    ("signature_header", "'x-a'", None), ("max_backlog", "3", None), ("emitters", "'{pg_monitor}'", []),
])
def test_one_setting_is_reset(ann, name, value, default):
    make(ann)
    before = ann.value(f"SELECT coalesce(to_jsonb({name}), '{{}}') FROM webhook.webhooks")
    update(ann, f"{name} => {value}")
    assert ann.value(f"SELECT coalesce(to_jsonb({name}), '{{}}') FROM webhook.webhooks") != before
    update(ann, f"reset => '{{{name}}}'")
    shown = ann.value(f"SELECT {name} FROM webhook.webhooks")
    assert (shown or default) == default


def test_a_signature_goes_back_to_that_of_the_format(ann):
    make(ann, "'things', format => 'truss', signature => 'none'")
    signature = lambda: ann.rows("SELECT format, signature FROM webhook.webhooks")
    update(ann, "reset => '{signature}'")
    assert signature() == [("truss", "hex")]
    update(ann, "signature => 'none'")
    update(ann, "reset => '{signature}', format => 'trst'")
    assert signature() == [("trst", "sha256")]
    update(ann, "reset => '{format}'")
    assert signature() == [("default", "standard")]


def test_what_cannot_be_reset(ann):
    make(ann)
    before = ann.rows(SETTINGS, "hook")
    for name in ("name", "url", "secret", "owner", "table_name", "webhook", "reset", "if_exists", "", "Max_retries", "retries"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=f'"{name}" is not a setting that can be reset') as caught:
            update(ann, f"description => 'x', reset => '{{\"{name}\"}}'")
        hint = caught.value.diag.message_hint
        assert "max_retries" in hint and "headers" in hint and "events" in hint
    for arguments, says in [
        ("reset => '{max_retries}', max_retries => 3", "reset names max_retries, and max_retries is given"),
        ("reset => '{headers}', headers => '{}'", "reset names headers, and headers is given"),
        ("reset => '{headers}', set_headers => '{}'", "reset names headers, and set_headers is given"),
        ("reset => '{headers}', unset_headers => '{}'", "reset names headers, and unset_headers is given"),
        ("reset => '{events}', events => '{INSERT}'", "reset names events, and events is given"),
    ]:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=says):
            update(ann, arguments)
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        update(ann, "reset => '{max_retries,NULL}'")
    assert ann.rows(SETTINGS, "hook") == before
    # A webhook without a table has no columns.
    ann.run(f"SELECT webhook_create('bare', '{URL}')")
    ann.run("SELECT webhook_update('bare', reset => '{columns,events,condition}')")


# --- single headers --------------------------------------------------------------------------------------


def test_single_headers_are_changed(ann, db, receiver):
    make(ann, """'things', headers => '{"X-A": "1", "X-B": "2", "X-C": "3"}'""", url=receiver.url("/"))
    update(ann, """set_headers => '{"x-b": "4", "X-D": "5"}', unset_headers => '{x-c,X-None}'""")
    ann.run("INSERT INTO things VALUES (1)")
    db.wait_for_status(1, "delivered")
    sent = {name.lower(): value for name, value in receiver.requests[0].headers.items()}
    assert {name: sent.get(name) for name in ("x-a", "x-b", "x-c", "x-d")} == {"x-a": "1", "x-b": "4", "x-c": None, "x-d": "5"}
    assert set(ann.value("SELECT headers FROM webhook.webhooks")) == {"X-A", "x-b", "X-D"}


def test_single_headers_that_are_refused(ann, db):
    make(ann, """'things', headers => '{"X-A": "1"}'""")
    stored = "SELECT headers FROM webhook.secret"
    for arguments, says in [
        ("""headers => '{}', set_headers => '{"X-B": "1"}'""", "headers and set_headers must not both be given"),
        ("headers => '{}', unset_headers => '{X-A}'", "headers and unset_headers must not both be given"),
        ("""set_headers => '{"X-B": "1"}', unset_headers => '{x-b}'""", "invalid headers"),
        ("""set_headers => '{"Host": "x"}'""", "invalid headers"),
        ("set_headers => '[1]'", "invalid headers"),
        ("set_headers => jsonb_build_object('X-B', repeat('x', 8187))", "invalid headers"),
    ]:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=says):
            update(ann, arguments)
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        update(ann, "unset_headers => '{NULL}'")
    assert db.value(stored) == {"X-A": "1"}


def test_an_admin_takes_no_old_headers_elsewhere_by_setting_one(ann, people, db):
    make(ann, """'things', headers => '{"Authorization": "hers"}'""")
    boss = people("boss", "admin")
    update(boss, """url => 'http://127.0.0.1:9/boss', set_headers => '{"X-B": "1"}'""")
    assert db.value("SELECT headers FROM webhook.secret") == {"X-B": "1"}
