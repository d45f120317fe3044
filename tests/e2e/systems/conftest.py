"""Fixtures of the tests that play the receivers of other systems."""

import pytest

from harness import wait_until


@pytest.fixture
def orders(db):
    """A database with a table to watch."""
    db.run("CREATE TABLE orders (id int PRIMARY KEY, customer text, total int)")
    return db


@pytest.fixture
def change(orders, receiver):
    """Runs a statement and returns the one request that it causes."""
    def change(statement, *arguments):
        before = len(receiver.got())
        orders.run(statement, *arguments)
        requests = receiver.wait(before + 1)
        assert len(requests) == before + 1
        return requests[-1]

    return change


@pytest.fixture
def row_changes(change):
    """Makes one change of each kind to `orders` and returns the three requests."""
    def row_changes():
        return [
            change("INSERT INTO orders VALUES (1, 'Ada', 42)"),
            change("UPDATE orders SET total = 50"),
            change("DELETE FROM orders"),
        ]

    return row_changes


@pytest.fixture
def captured(orders):
    """Runs a statement and returns how many events it makes."""
    def captured(statement, *arguments):
        count = "SELECT count(*) FROM webhook.deliveries"
        before = orders.value(count)
        orders.run(statement, *arguments)
        return orders.value(count) - before

    return captured


@pytest.fixture
def strict_db(own_cluster, make_db):
    """A database on a server that keeps to public addresses and to https."""
    def strict_db(**settings):
        server = own_cluster(
            pg_webhook__allow_http="off", pg_webhook__allowed_networks="''", **settings
        )
        return make_db(server)

    return strict_db


@pytest.fixture
def later(orders):
    """Waits until the one delivery is to be tried again; returns its row."""
    def later(columns):
        wait_until(
            lambda: orders.value("SELECT attempts FROM webhook.deliveries") == 1, "one attempt",
        )
        [row] = orders.rows(f"SELECT {columns} FROM webhook.deliveries")
        return row

    return later
