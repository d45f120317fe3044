"""How tests are run side by side; and fixtures: one server for all tests of a process, a database and a
receiver for each."""

import itertools

import pytest

from harness import Cluster, Receiver
from harness.cluster import Database
from harness.locks import turn
from harness.people import People
from harness.receiver import reply

# Tests wait for most of their time, so there are more of them at once than processors.
PROCESSES = 8

_numbers = itertools.count(1)


def pytest_xdist_auto_num_workers(config):
    """Tests that are asked for by name run in this process, where one sees what they print."""
    return 0 if any("::" in argument for argument in config.args) else PROCESSES


def pytest_collection_modifyitems(items):
    """Tests that have to be alone come last, when there is hardly anybody to wait for; those that compile first, beside all others."""
    items.sort(key=lambda item: (item.get_closest_marker("alone") is not None, item.get_closest_marker("early") is None))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Wait for the test's turn, before its time begins to count."""
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def cluster():
    """A running server that tests of a process share and must not stop."""
    # To compile a query takes seconds of processor time, and milliseconds to run it. Servers that a test has of
    # its own do what servers do by default.
    server = Cluster("shared", jit="off").start()
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
def people(cluster, db):
    """Makes roles of the test's database."""
    made = People(cluster, db)
    yield made
    made.close()


@pytest.fixture
def writer(people):
    """A role that may write and has no level."""
    return people("wri")


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
def copy(make_db):
    """Makes databases for dumps to be restored to."""
    made = []

    def make(server, name="copy"):
        made.append(make_db(server, name, extension=False))
        return made[-1]

    yield make
    for database in made:
        database.drop()


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


@pytest.fixture
def site(own_cluster, make_db, receiver):
    """A server called `one` with a database of a webhook, of which one event has been delivered, one is dead and one waits."""
    server = own_cluster(pg_webhook__server="'one'", wal_log_hints="on", wal_keep_size="'256MB'")
    db = make_db(server, "site").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=0)
    receiver.on("/", reply(200), reply(500))
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "delivered")
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(1, "dead")
    receiver.on("/", reply(200))
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items VALUES (3)")
    db.wait_for_status(1, "pending")
    return db


@pytest.fixture
def copy_of():
    """Makes copies of servers."""
    made = []

    def make(server, standby=False, **settings):
        other = server.standby() if standby else server.copy()
        made.append(other)
        other.configure(**settings)
        return other

    yield make
    for other in made:
        other.destroy()
