"""A receiver of signed webhooks: answers 204 where the signature holds, 400 otherwise.

WEBHOOK_SECRET=whsec_... PORT=8080 python3 receiver.py
"""

import base64
import hashlib
import hmac
import json
import os
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


def handle(event_id, event):
    # The same id can come again: keep the ids that you have dealt with, and skip those.
    print(event_id, event, flush=True)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        length = self.headers.get("content-length", "")
        fits = length.isdecimal() and int(length) <= LONGEST
        body = self.rfile.read(int(length)) if fits else None  # as it came: parsing is for later
        accepted = body is not None and genuine(self.headers, body)
        if accepted:
            handle(self.headers["webhook-id"], json.loads(body))  # where this fails, it is sent again
        self.send_response(204 if accepted else 400)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
