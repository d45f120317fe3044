"""The authorities that the operating system knows: where there are none, and where they change."""

import ipaddress

import pytest
from cryptography import x509

from harness import wait_until
from harness.certificates import authority, pem, server_context
from harness.clock import Clock
from harness.cluster import Cluster, Database

MISSING = "the operating system has no root certificates that the server can read"


class System:
    """What a server finds where the operating system keeps authorities."""

    def __init__(self, server):
        self._folder = server.folder / "certificates"
        self._folder.mkdir()
        self._file = server.folder / "roots.pem"
        self.knows()

    def knows(self, *signers):
        self._file.write_bytes(pem(*signers))
        self._file.chmod(0o644)

    def environment(self):
        return {"SSL_CERT_FILE": str(self._file), "SSL_CERT_DIR": str(self._folder)}


@pytest.fixture
def signer():
    return authority("root")


@pytest.fixture
def signed(signer, make_receiver, tmp_path):
    """A receiver with a certificate of that one."""
    return make_receiver(tls=server_context(tmp_path, signer, "signed", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]))


def test_roots_that_are_missing_are_told_and_found_when_they_come(signer, signed):
    """By the worker, without a reload, and by webhook_test as by deliveries."""
    server = Cluster("roots")
    try:
        system, clock = System(server), Clock(server)
        server.start(**clock.environment(), **system.environment())
        db = Database(server, "site").hand_over()
        told = f"{MISSING}: only certificates in pg_webhook.ca_file are trusted"
        wait_until(lambda: server.log_lines(told), "the log to say so")
        db.run("CREATE TABLE items (id int PRIMARY KEY)")
        db.create("hook", signed.url("/"), table_name="items", retry_backoff_seconds=1)
        db.run("INSERT INTO items VALUES (1)")
        db.wait_for_status(1, "retrying")
        reason = "invalid peer certificate: UnknownIssuer"
        wait_until(lambda: f"{reason}; {MISSING}" in (db.value("SELECT last_error FROM webhook.webhooks") or ""), "the view to say so")
        tested = "SELECT status_code, error FROM webhook_test('hook')"
        [(status, error)] = db.rows(tested)
        assert status == 0 and f"{reason}; {MISSING}" in error
        system.knows(signer)
        assert db.rows(tested) == [(200, None)]
        # The worker looks again once a minute while it has met somebody whom it does not know.
        clock.passes(61)
        db.run("INSERT INTO items VALUES (2)")
        # Of the tests, one has failed.
        wait_until(lambda: db.statuses() == {"delivered": 3, "dead": 1}, lambda: f"both to arrive: {db.statuses()}")
        assert len(server.log_lines(told)) == 1
    finally:
        server.destroy()
