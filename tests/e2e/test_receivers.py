"""The receivers of the documentation, run as they stand, take our requests and nothing else."""

import datetime
import http.client
import os
import pathlib
import socket
import subprocess
import sys

import pytest
from standardwebhooks import Webhook

from harness import wait_until
from harness.port import reserved

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "receivers"
PROGRAMS = {"node": ["node", FOLDER / "receiver.mjs"], "python": [sys.executable, FOLDER / "receiver.py"]}
OTHER_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(params=PROGRAMS)
def start(request, tmp_path):
    """Starts the receiver of one language with a secret; returns its port."""
    running, ports = [], []

    def start(secret):
        ports.append(reserved())
        port = ports[-1].getsockname()[1]
        output = tmp_path / f"{port}.log"
        with open(output, "wb") as log:
            running.append(subprocess.Popen(
                list(map(str, PROGRAMS[request.param])), stdout=log, stderr=log,
                env={**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)},
            ))

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, lambda: f"the receiver to listen: {output.read_text()}")
        return port

    yield start
    for process in running:
        process.kill()
        process.wait()
    for held in ports:
        held.close()


@pytest.fixture
def items(db):
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    return db


def post(port, body, headers):
    """The status that the receiver answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", body=body, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def signed(secret, body="{}", age=0, event_id="evt_1"):
    """The headers of a request as old as told, signed by the reference library."""
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, body),
    }


def test_a_delivery_with_the_right_secret(items, start):
    """A change arrives and is answered 204, bytes beyond ASCII included."""
    port = start(OTHER_SECRET)
    items.create("hook", f"http://127.0.0.1:{port}/", table_name="items", secret=OTHER_SECRET)
    items.run("INSERT INTO items VALUES (1, 'Ünïcödé \U0001f40d and \"quotes\"')")
    items.wait_for_status(1)
    assert items.value("SELECT status_code FROM webhook.deliveries") == 204


def test_a_delivery_with_another_secret(items, start):
    """A receiver with another secret answers 400, and the event stays."""
    port = start(OTHER_SECRET)
    items.create("hook", f"http://127.0.0.1:{port}/", table_name="items", retry_backoff_seconds=3600)
    items.run("INSERT INTO items VALUES (1, 'a')")
    items.wait_for_status(1, "retrying")
    assert items.value("SELECT status_code FROM webhook.deliveries") == 400


def test_only_the_request_that_was_signed(items, receiver, start):
    """A recorded request is accepted as it is, and refused when any signed part of it differs."""
    secret = items.create("hook", receiver.url("/"), table_name="items")["secret"]
    items.run("INSERT INTO items VALUES (1, 'a')")
    [request] = receiver.wait(1)
    port = start(secret)
    headers = {k: v for k, v in request.headers.items() if k != "host"}
    assert post(port, request.body, headers) == 204
    for body in [request.body.replace(b'"a"', b'"b"'), request.body + b"\n", b""]:
        assert post(port, body, {**headers, "content-length": str(len(body))}) == 400
    later = str(int(headers["webhook-timestamp"]) + 1)
    for name, value in [
        ("webhook-id", "evt_2"), ("webhook-timestamp", later),
        ("webhook-signature", Webhook(OTHER_SECRET).sign(
            request.id, datetime.datetime.now(datetime.timezone.utc), request.body.decode(),
        )),
    ]:
        assert post(port, request.body, {**headers, name: value}) == 400, name


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "x", "v1,", "-1", "9" * 40])
def test_missing_and_senseless_headers(start, name, value):
    """Every header that the signature needs has to be there and to make sense."""
    port = start(OTHER_SECRET)
    headers = signed(OTHER_SECRET)
    del headers[name]
    assert post(port, "{}", headers if value is None else {**headers, name: value}) == 400
    assert post(port, "{}", signed(OTHER_SECRET)) == 204


@pytest.mark.parametrize("age, status", [
    (0, 204), (290, 204), (-290, 204), (310, 400), (-310, 400), (10**9, 400),
])
def test_the_time_of_a_request(start, age, status):
    """What was signed more than five minutes before or after now is refused."""
    assert post(start(OTHER_SECRET), "{}", signed(OTHER_SECRET, age=age)) == status


def test_several_signatures(start):
    """One signature that holds is enough, wherever it stands."""
    port = start(OTHER_SECRET)
    headers = signed(OTHER_SECRET)
    good = headers["webhook-signature"]
    bad = "v1," + "A" * 43 + "="
    for signatures, status in [
        (f"{good} {bad}", 204), (f"{bad} {good}", 204), (f"v2,x {bad} {good}", 204),
        (f"{bad} {bad}", 400), (f"{good},{bad}", 400), (good[3:], 400), (f"v2{good[2:]}", 400),
    ]:
        assert post(port, "{}", {**headers, "webhook-signature": signatures}) == status, signatures


def test_both_secrets_while_they_overlap(items, receiver, start):
    """After a rotation, receivers with the old and the new secret accept the same request."""
    old = items.create("hook", receiver.url("/"), table_name="items")["secret"]
    new = items.value("SELECT webhook_rotate_secret('hook')")
    assert new.startswith("whsec_") and new != old
    items.run("INSERT INTO items VALUES (1, 'a')")
    [request] = receiver.wait(1)
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    for secret, status in [(old, 204), (new, 204), (OTHER_SECRET, 400)]:
        assert post(start(secret), request.body, request.headers) == status


def test_the_old_secret_after_the_overlap(items, receiver, start):
    """When the overlap is over, only the new secret signs."""
    old = items.create("hook", receiver.url("/"), table_name="items")["secret"]
    new = items.value("SELECT webhook_rotate_secret('hook', overlap => '0')")
    items.run("INSERT INTO items VALUES (1, 'a')")
    [request] = receiver.wait(1)
    for secret, status in [(old, 400), (new, 204)]:
        assert post(start(secret), request.body, request.headers) == status
