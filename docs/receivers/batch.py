"""A receiver of signed batches: answers 204 where the signature holds and all events are dealt with, 422 where one of them
is refused, 400 otherwise.

WEBHOOK_SECRET=whsec_... PORT=8080 SEEN=seen.db python3 batch.py
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 5 * 60  # seconds
LONGEST = 32 * 1024 * 1024  # bytes
KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"), validate=True)
if not KEY:
    raise SystemExit("WEBHOOK_SECRET is not a secret")


def genuine(headers, body):
    event_id = headers.get("webhook-id")
    timestamp = headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    if not event_id or not timestamp.isdecimal() or len(timestamp) > 12:
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    signed = f"{event_id}.{timestamp}.".encode() + body
    digest = hmac.digest(KEY, signed, hashlib.sha256)
    expected = b"v1," + base64.b64encode(digest)
    # While a secret is being rotated there are two, and one that holds is enough.
    return any(hmac.compare_digest(given.encode(), expected) for given in signatures.split())


class Refused(Exception):
    """An event that will never be taken, however often it comes."""


def handle(database, event):
    # What you do with an event; what it writes to the same database is there with its id, or not at all.
    if set(event) == {"webhook-id", "body"}:
        raise Refused("its body is no object")
    print(event.get("webhook-id") or event["id"], event, flush=True)


def take(events):
    with sqlite3.connect(os.environ.get("SEEN", "seen.db"), timeout=10) as database:  # one transaction for all of them
        database.execute("CREATE TABLE IF NOT EXISTS seen (id text PRIMARY KEY, at timestamp DEFAULT current_timestamp)")
        for event in events:
            # The same event can come again, in this batch or in another one.
            event_id = event.get("webhook-id") or event["id"]  # CloudEvents have their own
            if database.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", [event_id]).rowcount:
                handle(database, event)


def parse(body, media_type):
    if media_type == "application/x-ndjson":
        return [json.loads(line) for line in body.splitlines()]
    return json.loads(body)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(self.receive())
        self.end_headers()

    def receive(self):
        length = self.headers.get("content-length", "")
        fits = length.isdecimal() and int(length) <= LONGEST
        body = self.rfile.read(int(length)) if fits else None  # as it came: parsing is for later
        if body is None or not genuine(self.headers, body):
            return 400
        try:
            take(parse(body, self.headers.get("content-type")))  # where this fails otherwise, all of it is sent again
        except Refused:
            return 422  # the batch is sent in halves, until the one that is refused is alone
        return 204


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
