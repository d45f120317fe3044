"""From CREATE EXTENSION to a retried delivery: a server, a receiver, and what passes between them."""

import http.server
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))

from standardwebhooks import Webhook, WebhookVerificationError  # noqa: E402

from harness.cluster import BIN, Cluster  # noqa: E402
from harness.waiting import wait_until  # noqa: E402

BEGAN = time.monotonic()


def say(text):
    print(f"\n\033[1m[{time.monotonic() - BEGAN:5.1f} s] {text}\033[0m", flush=True)


def show(line):
    print(f"    {line}", flush=True)


class Receiver:
    """A web server as a user might write it: it checks the signature, and answers 204."""

    def __init__(self):
        self.secret = None
        self.port = 0
        self.accepted = []
        self._server = None
        self._connections = set()

    def up(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                receiver._connections.add(self.connection)

            def finish(self):
                receiver._connections.discard(self.connection)
                super().finish()

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            for connection in list(self._connections):
                connection.shutdown(socket.SHUT_RDWR)

    def take(self, path, headers, body):
        try:
            event = Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError as error:
            show(f"receiver: REFUSED: {error}")
            return 401
        show(f"receiver: POST {path}")
        for name in ("webhook-id", "webhook-timestamp", "webhook-attempt", "webhook-signature"):
            show(f"            {name}: {headers[name]}")
        show(f"            {body.decode()}")
        show("            signature verified by the Standard Webhooks library")
        self.accepted.append((event["event"], event["record"]))
        return 204


class Session:
    """Types statements into psql, where everybody can see them."""

    def __init__(self, server):
        self._server = server

    def _psql(self, *arguments):
        return subprocess.run(
            [BIN / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self._server.dsn("demo"), *arguments],
            check=True, capture_output=True, text=True,
        ).stdout.rstrip()

    def run(self, statement):
        for line in statement.splitlines():
            show(f"demo=# {line}")
        for line in self._psql("-c", statement).splitlines():
            show(line)

    def value(self, statement):
        return self._psql("-A", "-t", "-c", statement)


DELIVERIES = """SELECT id, event_type, status, attempts, status_code, latency_ms, error
FROM webhook.deliveries ORDER BY id"""


def main():
    say("Making a private PostgreSQL cluster")
    receiver = Receiver()
    server = Cluster("demo")
    try:
        play(server, receiver)
    finally:
        say("Stopping the server and the receiver")
        receiver.down()
        server.destroy()
    say("Done. Everything that the demo started has been stopped and removed.")


def play(server, receiver):
    say(f"Starting it in {server.folder}, with shared_preload_libraries = 'pg_webhook'")
    server.start()
    with server.connect() as admin:
        admin.execute("CREATE DATABASE demo")
    session = Session(server)
    session.run("CREATE EXTENSION pg_webhook")

    receiver.up()
    say(f"A receiver listens on 127.0.0.1:{receiver.port}. A table, and a webhook for it")
    session.run("CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric)")
    create = f"""SELECT name, url, secret FROM webhook_create(
    name       => 'new-orders',
    url        => 'http://127.0.0.1:{receiver.port}/hooks/orders',
    table_name => 'orders',
    retry_backoff_seconds => 1)"""
    for line in create.splitlines():
        show(f"demo=# {line}")
    name, url, receiver.secret = session.value(create).split("|")
    show(f"name {name}, url {url}")
    show(f"secret {receiver.secret} (shown once; the receiver has it now)")

    say("Inserting, updating and deleting a row")
    for statement, event in (
        ("INSERT INTO orders VALUES (1, 'Ada', 42)", "INSERT"),
        ("UPDATE orders SET total = 43 WHERE id = 1", "UPDATE"),
        ("DELETE FROM orders WHERE id = 1", "DELETE"),
    ):
        before = len(receiver.accepted)
        session.run(statement)
        wait_until(lambda: len(receiver.accepted) > before, f"the {event} to arrive")
        assert receiver.accepted[-1][0] == event

    say("A rollback sends nothing, and a row that does not change sends nothing")
    before = len(receiver.accepted)
    session.run("BEGIN; INSERT INTO orders VALUES (2, 'nobody', 0); ROLLBACK")
    session.run("INSERT INTO orders VALUES (3, 'Bea', 7)")
    wait_until(lambda: len(receiver.accepted) > before, "the INSERT to arrive")
    assert receiver.accepted[-1][1]["id"] == 3

    say("Taking the receiver down, and inserting")
    receiver.down()
    before = len(receiver.accepted)
    session.run("INSERT INTO orders VALUES (4, 'Cleo', 99)")
    waiting = "SELECT attempts >= 2 FROM webhook.deliveries WHERE status = 'retrying'"
    wait_until(lambda: session.value(waiting) == "t", "a second attempt", interval=0.1)
    say("The event waits, and is tried again and again")
    session.run("""SELECT id, status, attempts, error, next_attempt_at - now() AS next_attempt_in
FROM webhook.deliveries WHERE status <> 'delivered'""")

    say("Bringing the receiver up again")
    receiver.up()
    wait_until(lambda: len(receiver.accepted) > before, "the event to arrive", 60)
    left = "SELECT count(*) FROM webhook.deliveries WHERE status <> 'delivered'"
    wait_until(lambda: session.value(left) == "0", "the log to say so")

    say("What the log says: one row per event, and one per attempt")
    session.run(DELIVERIES)
    session.run("SELECT * FROM webhook.attempts ORDER BY started_at")
    events = [event for event, _ in receiver.accepted]
    assert events == ["INSERT", "UPDATE", "DELETE", "INSERT", "INSERT"], json.dumps(events)


if __name__ == "__main__":
    main()
