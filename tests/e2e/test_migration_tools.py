"""Real migration tools: their migrations run again and again, up and down, and their schema files and test databases work."""

import pytest

from harness.cluster import Database
from harness.migrations import Alembic, Dbmate, Django, NodePgMigrate

TOOLS = [Alembic, Django, Dbmate, NodePgMigrate]

WEBHOOKS = "SELECT name, health FROM webhook.webhooks ORDER BY name"
THERE = [("new-orders", "healthy"), ("shipped", "healthy")]


@pytest.fixture
def project(db, receiver, tmp_path):
    """Makes a project of a tool, for an ordinary role that migrates the database."""
    db.hand_over()

    def make(tool):
        return tool(tmp_path, db.cluster, db.name, db.owner, receiver.url("/"))

    return make


@pytest.mark.parametrize("tool", TOOLS)
def test_migrations_up_and_up_again_and_down_and_down_again(db, receiver, project, tool):
    tool = project(tool)
    tool.up()
    assert db.rows(WEBHOOKS) == THERE
    ids = db.rows("SELECT id FROM webhook.webhooks ORDER BY name")
    # Once more, as far as the tool is concerned, and once more really.
    tool.up()
    tool.forget()
    tool.up()
    assert db.rows(WEBHOOKS) == THERE and db.rows("SELECT id FROM webhook.webhooks ORDER BY name") == ids
    db.run("INSERT INTO orders VALUES (1, 5), (2, 50); SELECT webhook_emit('order.shipped', '1')")
    db.wait_for_status(2, "delivered")
    assert len(receiver.got()) == 2
    tool.down()
    assert db.rows(WEBHOOKS) == [] and db.value("SELECT to_regclass('orders')") is None
    tool.pretend()
    tool.down()
    assert db.rows(WEBHOOKS) == []
    tool.up()
    assert db.rows(WEBHOOKS) == THERE


@pytest.fixture
def builder(cluster):
    """A role that makes databases and the extension in them, as whoever runs tests or sets up a database does: a superuser."""
    with cluster.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS builder; CREATE ROLE builder SUPERUSER LOGIN")
    yield "builder"
    with cluster.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS built")
        admin.execute("DROP ROLE builder")


def databases(cluster):
    with cluster.connect() as admin:
        return {name for [name] in admin.execute("SELECT datname FROM pg_database").fetchall()}


TESTS = """
import time
from django.db import connection
from django.test import TestCase, TransactionTestCase
from shop.models import Order

def query(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()

class Rolled(TestCase):
    def test_an_event_is_captured(self):
        Order.objects.create(id=1, total=50)
        assert query("SELECT event_type, status FROM webhook.deliveries") == [("INSERT", "pending")]

class Committed(TransactionTestCase):
    def test_an_event_is_delivered(self):
        Order.objects.create(id=1, total=50)
        end = time.monotonic() + 20
        while query("SELECT status FROM webhook.deliveries") != [("delivered",)]:
            assert time.monotonic() < end, query("SELECT * FROM webhook.worker")
            time.sleep(0.05)
"""


def test_django_makes_a_test_database_with_a_worker_and_drops_it(cluster, receiver, builder, tmp_path):
    """Twice, as each run of the tests does."""
    tool = Django(tmp_path, cluster, "built", builder, receiver.url("/"))
    tool.file("shop/tests.py", TESTS)
    for run in (1, 2):
        assert "Ran 2 tests" in tool.manage("test", "--noinput")
        assert len(receiver.got()) == run, "one that commits, and one that does not"
        assert "test_built" not in databases(cluster)


def test_a_schema_file_of_dbmate_makes_a_new_database(db, cluster, receiver, builder, project, tmp_path):
    """What it brings of triggers is of no webhook, and does nothing: webhooks are rows, which no schema file has. They are made as
    in the database that it comes from, by the migration or by its document."""
    tool = project(Dbmate)
    tool.up()
    assert "webhook.capture" in (tmp_path / "db/schema.sql").read_text()
    document = db.value("SELECT webhook_export()::text")
    tool.user = builder
    tool.dbmate("create", database="built")
    tool.dbmate("load", database="built")
    built = Database(cluster, "built", is_there=True)
    try:
        built.wait_for_worker()
        built.run("INSERT INTO orders VALUES (1, 50)")
        assert built.rows("SELECT * FROM webhook.webhooks") == built.rows("SELECT * FROM webhook.deliveries") == []
        assert built.value("SELECT count(*) FROM schema_migrations") == 1, "the tool does not run the migration again"
        made = "SELECT name, action FROM webhook_apply(%s) ORDER BY name"
        assert built.rows(made, document) == [("new-orders", "created"), ("shipped", "created")]
        assert built.rows(made, document) == [("new-orders", "unchanged"), ("shipped", "unchanged")]
        built.run("INSERT INTO orders VALUES (2, 50)")
        built.wait_for_status(1, "delivered")
        assert len(receiver.got()) == 1 and built.rows(WEBHOOKS) == THERE
    finally:
        built.connection.close()
    # Beside a worker that is connected to it.
    tool.dbmate("drop", database="built")
    assert "built" not in databases(cluster)
