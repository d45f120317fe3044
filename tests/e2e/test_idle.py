"""A webhook that can do nothing says so, and what to do."""

import pytest

from test_if_exists import URL, ann  # noqa: F401


def told(person, statement):
    heard = []
    listen = lambda notice: heard.append((notice.severity, notice.message_primary, notice.message_hint))
    person.connection.add_notice_handler(listen)
    person.run(statement)
    person.connection.remove_notice_handler(listen)
    return heard


TOLD = [(
    "NOTICE",
    'webhook "hook" watches no table and hears no emitted events',
    "public.webhook_watch gives it a table, and public.webhook_update with events the types of events that public.webhook_emit brings.",
)]


def test_without_a_table_and_without_events(ann):
    assert told(ann, f"SELECT webhook_create('hook', '{URL}')") == TOLD
    assert told(ann, "SELECT webhook_update('hook', description => 'of another matter')") == []
    assert told(ann, "SELECT webhook_watch('hook', 'things')") == []
    # Whoever says so knows.
    assert told(ann, "SELECT webhook_unwatch('hook', 'things')") == []
    assert told(ann, "SELECT webhook_update('hook', events => '{a.b}')") == []
    assert told(ann, "SELECT webhook_update('hook', reset => '{events}')") == TOLD
    # A pattern that is there matches something, and a table that is watched has operations.
    for given in ("events => '{*}'", "events => '{INSERT*}'", "table_name => 'things', events => '{TRUNCATE}'"):
        assert told(ann, f"SELECT webhook_create('hook', '{URL}', {given}, if_exists => 'replace')") == []
    assert told(ann, f"SELECT webhook_create('hook', '{URL}', if_exists => 'replace')") == TOLD
    assert told(ann, f"SELECT webhook_create('hook', '{URL}', if_exists => 'replace')") == []


def test_a_table_that_has_been_dropped_is_none(ann):
    ann.run(f"SELECT webhook_create('hook', '{URL}', 'things', '{{INSERT,a.b}}')")
    ann.run("DROP TABLE things")
    assert told(ann, "SELECT webhook_update('hook', reset => '{events}')") == TOLD


@pytest.mark.parametrize("events", ["{*}", "{a.*}", "{INSERT*}", "{**.paid}", "{X*}"])
def test_every_pattern_that_is_accepted_can_be_emitted(ann, db, events):
    ann.run(f"SELECT webhook_create('hook', '{URL}', events => '{events}')")
    emitted = events.strip("{}").replace("**", "x").replace("*", ".x")
    assert ann.value("SELECT webhook_emit(%s, '1')", emitted) == 1
