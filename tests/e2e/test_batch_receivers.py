"""The receivers of batches in the documentation, run as they stand."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from harness import wait_until
from harness.port import reserved
from test_receivers import post

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "receivers"
PROGRAMS = {"node": ["node", FOLDER / "batch.mjs"], "python": [sys.executable, FOLDER / "batch.py"]}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(params=PROGRAMS)
def program(request, tmp_path):
    """The receiver of one language: its port, and what it has dealt with."""
    held = reserved()
    port, output = held.getsockname()[1], tmp_path / "output"
    with open(output, "wb") as log:
        running = subprocess.Popen(
            list(map(str, PROGRAMS[request.param])), stdout=log, stderr=log,
            env={**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port), "SEEN": str(tmp_path / "seen.db")},
        )

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, lambda: f"the receiver to listen: {output.read_text()}")
    yield port, lambda: [line.split()[0] for line in output.read_text().splitlines() if line.startswith("evt_")]
    running.kill()
    running.wait()
    held.close()


@pytest.fixture
def items(db):
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


@pytest.mark.parametrize("form", ["array", "ndjson"])
@pytest.mark.parametrize("name", ["default", "supabase", "cloudevents"])
def test_batches_are_taken(items, program, form, name):
    port, seen = program
    items.create("hook", f"http://127.0.0.1:{port}/", table_name="items", secret=SECRET, batch_size=10, batch_format=form, format=name)
    items.run("INSERT INTO items SELECT i, E'Ünïcödé\\n' FROM generate_series(1, 25) AS i")
    items.wait_for_status(25)
    assert items.rows("SELECT DISTINCT status_code FROM webhook.deliveries") == [(204,)]
    assert sorted(seen()) == sorted(row[0] for row in items.rows("SELECT event_id FROM webhook.deliveries"))


def test_an_event_that_comes_again_is_skipped(items, receiver, program):
    port, seen = program
    items.create("hook", receiver.url("/"), table_name="items", secret=SECRET, batch_size=10, batch_wait="0.3 seconds")
    items.run("INSERT INTO items SELECT generate_series(1, 3)")
    items.wait_for_status(3)
    items.run("SELECT webhook_replay(id) FROM webhook.deliveries WHERE (payload_json -> 'record' ->> 'id')::int < 3")
    items.wait_for_status(5)
    requests = receiver.got()
    assert len({r.id for r in requests}) == len(requests) == 2
    for request in [*requests, requests[0]]:
        headers = {k: v for k, v in request.headers.items() if k != "host"}
        assert post(port, request.body, headers) == 204
    assert len(seen()) == 3
    headers = {k: v for k, v in requests[0].headers.items() if k not in ("host", "content-length")}
    assert post(port, requests[0].body.replace(b"1", b"2"), headers) == 400


def test_what_is_refused_is_alone_in_the_end(items, program):
    port, seen = program
    items.run("""CREATE FUNCTION shape(e jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
        $$SELECT CASE e -> 'record' ->> 'id' WHEN '5' THEN 'null' ELSE e END$$""")
    items.create("hook", f"http://127.0.0.1:{port}/", table_name="items", secret=SECRET, batch_size=10, max_retries=0,
                 transform="shape(jsonb)", batch_wait="0.3 seconds")
    items.run("INSERT INTO items SELECT generate_series(1, 10)")
    items.wait_for_status(9)
    items.wait_for_status(1, "dead")
    dead = items.rows("SELECT event_id, payload, status_code FROM webhook.dead_letters")
    assert [row[1:] for row in dead] == [("null", 422)] and dead[0][0] not in seen()
