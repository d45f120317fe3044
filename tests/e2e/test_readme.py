"""The first thing that a user reads works as it stands."""

import pathlib
import re

import psycopg
import pytest

from harness import Cluster, wait_until
from harness.cluster import Database

README = pathlib.Path(__file__).parents[2] / "README.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.M | re.S)


def statements(block):
    return [part.strip() for part in block.split(";") if part.strip()]


def test_the_first_screen(cluster, make_db, receiver):
    db = make_db(cluster, extension=False)
    block = blocks("sql")[0]
    url = "https://example.com/hooks/orders"
    assert url in block
    *before, query = statements(block.replace(url, receiver.url("/hooks/orders")))
    for statement in before:
        db.run(statement)
    db.wait_for_status(1)
    [row] = db.rows(query)
    assert (row[0], row[1], row[2], row[4]) == ("INSERT", "delivered", 200, 1)


def test_the_grants_for_an_application(cluster, make_db, receiver):
    db = make_db(cluster)
    db.run("DROP ROLE IF EXISTS app")
    db.run("CREATE ROLE app LOGIN")
    try:
        [grants] = [block for block in blocks("sql") if block.startswith("SELECT webhook_grant")]
        for statement in statements(grants):
            db.run(statement)
        db.run("CREATE TABLE mine (id int PRIMARY KEY); ALTER TABLE mine OWNER TO app")
        with cluster.connect(db.name, user="app") as app:
            app.execute("SELECT webhook_create('hook', %s, 'mine')", [receiver.url("/")])
            app.execute("INSERT INTO mine VALUES (1)")
            db.wait_for_status(1)
            assert app.execute("SELECT status FROM webhook.deliveries").fetchall() == [("delivered",)]
            assert app.execute("SELECT health FROM webhook.webhooks").fetchall() == [("healthy",)]
            assert app.execute("SELECT count(*) FROM webhook.attempts").fetchone() == (1,)
            assert app.execute("SELECT state FROM webhook.worker").fetchone() == ("running",)
    finally:
        db.run("DROP OWNED BY app")
        db.run("DROP ROLE app")


def test_the_installation(cluster, make_db, receiver):
    """What is called by its schema is ours. A path in which another schema comes first would lead elsewhere."""
    db = make_db(cluster, extension=False)
    [install] = [block for block in blocks("sql") if block.startswith("CREATE SCHEMA")]
    for statement in statements(install):
        db.run(statement)
    assert db.value("SELECT hooks.webhook_grant('pg_monitor', 'viewer')") is not None
    assert not re.search(r"search_path = .*public.*hooks", README.read_text())


def test_a_receiver_on_the_same_machine(receiver):
    """As it is installed the URL is refused; what README says is enough."""
    settings = re.search(r"^```\n(pg_webhook\.allow_http.*?)^```", README.read_text(), re.M | re.S)[1]
    server = Cluster("readme", pg_webhook__allow_http="off", pg_webhook__allowed_networks="''").start()
    try:
        db = Database(server, "readme")
        with pytest.raises(psycopg.Error, match="not https"):
            db.create("hook", receiver.url("/"), events=["tick"])
        with open(server.data / "postgresql.conf", "a") as file:
            file.write(settings)
        server.reload()
        wait_until(lambda: db.value("SHOW pg_webhook.allow_http") == "on", "the reload")
        db.create("hook", receiver.url("/"), events=["tick"])
        db.run("SELECT webhook_emit('tick', '{}')")
        db.wait_for_status(1)
        db.close()
    finally:
        server.destroy()
