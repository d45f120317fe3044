"""To register a webhook nobody is asked for a name, unless the administrator wants that."""

import json
import time

import psycopg
import pytest

from test_missing_ok import notices
from test_names import NAME, site  # noqa: F401

SLOW = 3


class Quick:
    """What is in it asks nobody: that would take SLOW seconds."""

    def __enter__(self):
        self.began = time.monotonic()

    def __exit__(self, *_):
        assert time.monotonic() - self.began < SLOW - 1, "somebody has been asked"


@pytest.fixture
def slow(site, receiver):
    site.names.set(NAME, receiver.host, seconds=SLOW)
    return site


def refused(db, statement, *arguments):
    with pytest.raises(psycopg.Error) as caught:
        db.run(statement, *arguments)
    return caught.value.sqlstate, caught.value.diag.message_detail or caught.value.diag.message_primary


def test_registration_asks_nobody(slow, receiver):
    """Neither where a name is slow to resolve, nor where nobody knows it."""
    db, url = slow.db, slow.url(receiver)
    with Quick():
        db.create("hook", url, table_name="items")
        db.run("SELECT webhook_update('hook', url => 'https://nothing.invalid/')")
        db.run("SELECT webhook_update('hook', url => %s)", url)
        db.create("disabled", "https://nothing.invalid/", enabled=False)
        db.run("SELECT webhook_create('hook', %s, 'items', if_exists => 'replace')", url + "?other")
    db.run("INSERT INTO items VALUES (1)")
    receiver.wait(1)


def test_an_address_that_is_not_allowed_is_refused_when_it_is_called(site, receiver):
    """Whatever the name is called in between."""
    site.names.set(NAME, "10.0.0.1")
    site.db.create("hook", site.url(receiver), table_name="items", max_retries=0)
    site.db.run("INSERT INTO items VALUES (1)")
    site.db.wait_for_status(1, "dead")
    assert site.db.rows("SELECT error_class, error FROM webhook.dead_letters") == [
        ("blocked_address", "10.0.0.1 is not allowed: private")
    ]
    assert receiver.connections == 0
    site.db.run("SELECT webhook_update('hook', url => 'http://nothing.invalid/')")
    site.db.run("INSERT INTO items VALUES (2)")
    site.db.wait_for_status(2, "dead")
    assert site.db.value("SELECT error_class FROM webhook.dead_letters ORDER BY id DESC LIMIT 1") == "dns"


@pytest.fixture
def strict(site):
    site.db.judge.run(f"ALTER DATABASE {site.db.name} SET pg_webhook.require_resolvable = on")
    site.db.connection = site.db.connect()
    return site


def test_a_new_url_has_to_resolve_where_that_is_asked_for(strict, receiver):
    db = strict.db
    db.run("SELECT webhook_create('hook', %s, 'items', '{INSERT}')", f"http://127.0.0.1:{receiver.port}/")
    before = db.rows("SELECT name, url, updated_at FROM webhook.webhooks")
    for name, address, key in [("nothing.invalid", None, "unresolvable"), (NAME, "10.0.0.1", "private_ip")]:
        if address:
            strict.names.set(name, address)
        url = f"http://{name}/"
        for statement in ("SELECT webhook_create('other', %s, 'items')", "SELECT webhook_update('hook', url => %s)",
                          "SELECT webhook_create('hook', %s, 'items', if_exists => 'replace')",
                          "SELECT webhook_create('other', %s, enabled => false)"):
            assert refused(db, statement, url)[1].startswith(f"webhook.url.{key}: "), statement
    assert db.rows("SELECT name, url, updated_at FROM webhook.webhooks") == before
    # What stays as it is need not resolve any more.
    strict.names.set(NAME, receiver.host)
    db.connection = db.connect()  # a session remembers names for a while
    db.run("SELECT webhook_update('hook', url => %s)", strict.url(receiver))
    strict.names.set(NAME, "10.0.0.1")
    db.connection = db.connect()
    db.run("SELECT webhook_update('hook', description => 'the same')")
    again = "SELECT action FROM webhook_create('hook', %s, 'items', '{INSERT}', if_exists => 'replace', description => 'the same')"
    assert db.rows(again, strict.url(receiver)) == [("unchanged",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.run("SET pg_webhook.require_resolvable = off")


def test_all_else_is_refused_before_a_name_is_asked_for(strict, receiver):
    db, url = strict.db, strict.url(receiver)
    db.judge.run("CREATE TABLE theirs (id int)")
    db.create("hook", "http://127.0.0.1:9/", table_name="items")
    strict.names.set(NAME, receiver.host, seconds=SLOW)
    with Quick():
        for settings, state in [
            ("timeout_seconds => 0", "22023"), ("headers => '{\"Host\": \"x\"}'", "22023"), ("secret => 'short'", "22023"),
            ("table_name => 'theirs'", "42501"), ("table_name => 'items', columns => '{nothing}'", "42703"),
            ("transform => 'now()'", "42P13"), ("emitters => '{4294967294}'", "42704"),
            ("signature => 'standard', secret => 'sixteen letters, no base64'", "22023"), ("name => 'hook'", "42710"),
        ]:
            name = "" if settings.startswith("name") else "name => 'other', "
            assert refused(db, f"SELECT webhook_create({name}url => %s, {settings})", url)[0] == state, settings
        for settings, state in [
            ("timeout_seconds => 0", "22023"), ("columns => '{nothing}'", "42703"), ("table_name => 'theirs'", "42501"),
            ("transform => 'now()'", "42P13"), ("signature => 'standard', secret => 'sixteen letters, no base64'", "22023"),
        ]:
            assert refused(db, f"SELECT webhook_update('hook', url => %s, {settings})", url)[0] == state, settings


def test_what_is_said_is_said_once(strict, receiver):
    """Though it is rehearsed."""
    strict.names.set(NAME, receiver.host)
    strict.db.run("CREATE UNLOGGED TABLE fleeting (id int)")
    said = notices(strict.db, f"SELECT webhook_create('hook', '{strict.url(receiver)}', 'fleeting')")
    assert len(said) == 1 and "unlogged" in said[0][1]
    strict.db.run("INSERT INTO fleeting VALUES (1)")
    receiver.wait(1)


def test_an_error_of_a_configuration_says_which_webhook_it_is_about(strict, receiver):
    """Whether it is refused while that is rehearsed, or when its name is looked up."""
    db, url = strict.db, strict.url(receiver)
    strict.names.set(NAME, receiver.host)
    fine = {"url": url, "tables": {"items": {}}}
    for settings, state in [
        ({"url": url, "tables": {"items": {"columns": ["nothing"]}}}, "42703"),
        ({"url": url, "secret": "app.short", "signature": "none"}, "22023"),
        ({"url": "http://nothing.invalid/"}, "22023"),
    ]:
        db.run("SET app.short = 'short'")
        document = json.dumps({"webhooks": {"a": fine, "second": settings}})
        with pytest.raises(psycopg.Error) as caught:
            db.run("SELECT webhook_apply(%s)", document)
        assert caught.value.sqlstate == state, caught.value
        assert caught.value.diag.context.split("\n")[0].startswith('configuration, webhook "second"'), settings
        assert db.rows("SELECT FROM webhook.webhooks") == []
    document = json.dumps({"webhooks": {"a": fine, "second": {"url": url}}})
    assert [action for _, action in db.rows("SELECT name, action FROM webhook_apply(%s)", document)] == ["created", "created"]
