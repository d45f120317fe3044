"""Fixtures: one server for all tests, a database and a receiver for each."""

import itertools

import pytest

from harness import Cluster, Receiver
from harness.cluster import Database

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster():
    """A running server that tests share and must not stop."""
    server = Cluster("shared").start()
    yield server
    server.destroy()


@pytest.fixture
def own_cluster():
    """Makes servers that a test may stop, crash and configure."""
    servers = []

    def make(**settings):
        servers.append(Cluster("own", **settings).start())
        return servers[-1]

    yield make
    for server in servers:
        server.destroy()


@pytest.fixture
def db(cluster):
    """A new database with the extension and a running worker."""
    database = Database(cluster, f"t{next(_numbers)}")
    yield database
    database.drop()


@pytest.fixture
def make_db():
    """Makes databases in any cluster."""
    databases = []

    def make(server, name=None, extension=True):
        databases.append(Database(server, name or f"t{next(_numbers)}", extension))
        return databases[-1]

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def receiver():
    """A receiver that answers 200 until told otherwise."""
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def make_receiver():
    """Makes further receivers."""
    receivers = []

    def make(**options):
        receivers.append(Receiver(**options))
        return receivers[-1]

    yield make
    for server in receivers:
        server.close()
