"""CloudEvents 1.0 in structured mode, read by its published library."""

import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from harness.verify import verify_python

ROW = {"id": 1, "customer": "Ada", "total": 42}
LATER = {**ROW, "total": 50}


@pytest.fixture
def hook(orders, receiver):
    return orders.create(
        "events", receiver.url("/"), table_name="orders", format="cloudevents",
        events=["INSERT", "UPDATE", "DELETE", "invoice.*"],
    )


def read(request):
    """The event as the library reads it; it raises where the event is not valid."""
    event = from_http_event(HTTPMessage(headers=request.headers, body=request.body))
    assert event.get_specversion() == "1.0"
    assert event.get_id() == request.id
    assert event.get_datacontenttype() == "application/json"
    assert event.get_time().utcoffset().total_seconds() == 0
    return event


def test_rows(orders, hook, row_changes):
    """The library reads an event of each operation, and finds the rows in its data."""
    requests = row_changes()
    events = [read(request) for request in requests]
    found = [(e.get_type(), e.get_data()["record"], e.get_data()["old_record"]) for e in events]
    assert found == [
        ("orders.insert", ROW, None), ("orders.update", LATER, ROW), ("orders.delete", LATER, LATER),
    ]
    assert len({event.get_source() for event in events}) == 1
    assert {event.get_subject() for event in events} == {"public.orders"}
    keys = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"]
    assert [list(json.loads(request.body)) for request in requests] == [keys] * 3
    orders.wait_for_status(3)


def test_the_mode(orders, hook, change):
    """Structured mode: its content type, and no attribute in a header."""
    request = change("INSERT INTO orders VALUES (1, 'Ada', 42)")
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert not any(name.startswith("ce-") for name in request.headers)
    verify_python(hook["secret"], request)


def test_an_application_event(orders, hook, receiver):
    """An emitted event has its own type and no subject, and its data as they were given."""
    orders.run("""SELECT webhook_emit('invoice.paid', '{"id": 7, "name": "Ünïcödé"}')""")
    event = read(receiver.wait(1)[0])
    assert event.get_type() == "invoice.paid" and event.get_subject() is None
    assert event.get_data() == {"id": 7, "name": "Ünïcödé"}


def test_ids_are_unique_within_their_source(orders, hook, receiver):
    """No two events have the same source and id; a replay is the same event."""
    orders.run("INSERT INTO orders SELECT i, 'Ada', i FROM generate_series(1, 20) i")
    orders.wait_for_status(20)
    orders.run("SELECT webhook_replay(max(id)) FROM webhook.deliveries")
    events = [read(request) for request in receiver.wait(21)]
    assert len({(event.get_source(), event.get_id()) for event in events}) == 20
