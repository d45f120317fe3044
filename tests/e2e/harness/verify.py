"""Signature checks by the Standard Webhooks reference libraries of Python and Node, and by others of Node."""

import json
import os
import pathlib
import subprocess

from standardwebhooks import Webhook

NODE_FOLDER = pathlib.Path(os.environ["PGW_NODE"])

_SCRIPT = """
const { Webhook } = require(process.argv[1]);
const input = JSON.parse(require("fs").readFileSync(0));
const results = input.map(({ secret, headers, body }) => {
  try { new Webhook(secret).verify(body, headers); return null; } catch (error) { return String(error); }
});
console.log(JSON.stringify(results));
"""


def verify_python(secret, request):
    """Raise where the reference library of Python does not accept the request."""
    Webhook(secret).verify(request.body, request.headers)


def verify_node(secret, requests, library="standardwebhooks"):
    """For each request None, or the error of the library of Node."""
    given = [
        {"secret": secret, "headers": r.headers, "body": r.body.decode()} for r in requests
    ]
    done = subprocess.run(
        ["node", "-e", _SCRIPT, library], input=json.dumps(given), cwd=NODE_FOLDER,
        capture_output=True, text=True, check=True, timeout=60,
    )
    return json.loads(done.stdout)
