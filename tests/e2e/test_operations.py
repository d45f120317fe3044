"""docs/operations.md: each block of SQL or shell that is in it, as whoever reads it would run it."""

import os
import pathlib
import re
import subprocess

import pytest

from harness import wait_until
from harness.cluster import Database
from harness.receiver import reply

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "operations.md"


def sections():
    """The blocks of each section, as (language, text)."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.M)
    found = {}
    for title, text in zip(parts[1::2], parts[2::2]):
        found[title] = re.findall(r"^```(sql|sh)\n(.*?)^```", text, re.M | re.S)
    return found


def statements(block):
    return [part.strip() for part in re.split(r";\s*$", block, flags=re.M) if part.strip()]


class Shop:
    """The database that the page is about, and where its commands are run."""

    def __init__(self, server, receiver):
        self.server, self.receiver = server, receiver
        self.db = Database(server, "shop", extension=False)

    def prepare(self):
        """As section "Install" leaves it: no session finds the functions without their schema."""
        self.db.run("CREATE SCHEMA hooks; CREATE EXTENSION pg_webhook SCHEMA hooks")
        self.db.run("CREATE TABLE orders (id bigserial PRIMARY KEY, customer text, total numeric)")
        self.db.wait_for_worker()
        self.create("new-orders", "/", retry_backoff_seconds=3600)
        self.receiver.on("/", reply(500, b"out of order"))
        self.db.run("INSERT INTO orders (customer, total) VALUES ('Ada', 42)")
        self.db.wait_for_status(1, "retrying")

    def create(self, name, path, **settings):
        self.db.run("SET search_path = public, hooks")
        self.db.create(name, self.receiver.url(path), table_name="orders", **settings)
        self.db.run("RESET search_path")

    def run(self, section):
        """Returns what each statement and each command has said."""
        said = []
        for language, text in sections()[section]:
            text = re.sub(r"https://example.com(/\w*)", lambda found: self.receiver.url(found[1]), text)
            if language == "sql":
                said += [self.sql(statement) for statement in statements(text)]
            else:
                said.append(self.shell(text))
        return said

    def sql(self, statement):
        cursor = self.db.connection.execute(statement)
        return cursor.fetchall() if cursor.description else None

    def shell(self, text):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "PGHOST": str(self.server.folder), "PGUSER": "postgres", "PATH": f"{self.server.bin}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [*self.server._as_user, "bash", "-euc", text], cwd=self.server.folder, env=environment, text=True, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def shop(own_cluster, receiver):
    shop = Shop(own_cluster(max_worker_processes="16"), receiver)
    yield shop
    shop.db.close()


def test_all_sections_are_run():
    """Those that have something to run; a new one needs a test here."""
    run = {"Restore", *re.findall(r'shop\.run\("(.*?)"\)', pathlib.Path(__file__).read_text())}
    assert {title for title, blocks in sections().items() if blocks} == run
    # A block that is told to be something else is not run.
    told = re.findall(r"^```(\w+)\n", PAGE.read_text(), re.M)
    assert set(told) == {"sql", "sh", "ini"} and told.count("ini") == 1


def test_install(shop):
    *_, check = shop.run("Install")
    assert check == []
    wait_until(lambda: shop.db.value("SELECT state FROM webhook.worker") == "running", "the worker")
    shop.db.run("CREATE TABLE mine (id int); ALTER TABLE mine OWNER TO app")
    with shop.server.connect("shop", user="app") as app:
        app.execute("SELECT hooks.webhook_create('hook', %s, 'mine')", [shop.receiver.url("/hook")])
        app.execute("INSERT INTO mine VALUES (1)")
    shop.receiver.wait(1, "/hook")


def test_size(shop):
    shop.prepare()
    [[(log,)], [(backlog,)]] = shop.run("Size")
    assert re.fullmatch(r"\d+ kB", log) and re.fullmatch(r"\d+ kB", backlog)


def test_monitor(shop):
    shop.prepare()
    said = shop.run("Monitor")
    [(webhook, pending, age, failed)] = next(rows for rows in said if rows and len(rows[0]) == 4 and rows[0][0] == "new-orders")
    assert (webhook, pending, failed) == ("new-orders", 1, 0) and age.total_seconds() > 0
    [sick] = next(rows for rows in said if rows and rows[0][:2] == ("new-orders", "failing"))
    assert sick[4] == "http_status: status 500"
    wait_until(lambda: shop.sql("SELECT attempts FROM webhook.metrics WHERE webhook = 'new-orders'") == [(1,)], "its number")
    statement = next(text for text in statements("".join(text for _, text in sections()["Monitor"])) if " AS le" in text)
    with shop.server.connect("shop", user="prometheus") as prometheus:
        buckets = prometheus.execute(statement).fetchall()
        assert len(buckets) == 2 * 64 and max(total for *_, total in buckets) == 0, "nothing is delivered"
        assert prometheus.execute("SELECT count(*) FROM webhook.workers").fetchone() == (1,)
    with shop.server.connect("shop", user="oncall") as oncall:
        assert oncall.execute("SELECT status, payload FROM hooks.webhook_log('new-orders')").fetchall() == [("retrying", None)]
    # What the admin's webhook hears of.
    shop.receiver.on("/broken", reply(410))
    shop.create("broken", "/broken")
    shop.db.run("INSERT INTO orders (customer, total) VALUES ('Eve', 1)")
    shop.receiver.wait(1, "/alerts")


def test_a_failure(shop):
    shop.prepare()
    [waiting], [attempt], [test], [[replayed]] = shop.run("Look into a failure")
    assert waiting[1:4] == ("retrying", 1, "status 500") and attempt[2] == 500 and attempt[5] == "out of order"
    assert test[0] == 500


def test_sending_is_stopped(shop):
    shop.prepare()
    before, after = sections()["Stop sending"][0][1].split("ALTER SYSTEM RESET")
    assert len(shop.run("Stop sending")) == 6
    assert shop.sql("SELECT health FROM webhook.webhooks") == [("failing",)]
    for statement in statements(before):
        shop.sql(statement)
    wait_until(lambda: shop.sql("SHOW pg_webhook.enabled") == [("off",)], "it to be read")
    for statement in statements("ALTER SYSTEM RESET" + after):
        shop.sql(statement)
    wait_until(lambda: shop.sql("SHOW pg_webhook.enabled") == [("on",)], "it to be read")


def test_a_load_without_events(shop):
    shop.prepare()
    shop.run("Load data without events")
    assert shop.sql("SELECT count(*) FROM orders") == [(1001,)]
    assert shop.sql("SHOW pg_webhook.capture") == [("on",)]
    assert shop.sql("SELECT count(*) FROM webhook.deliveries") == [(1,)]


def test_upgrades(shop):
    shop.prepare()
    *done, [(webhook, severity, problem, _)] = shop.run("Upgrade")
    assert done == [None, [(False,)]]
    # Whose endpoint has failed before.
    assert (webhook, severity) == ("new-orders", "warning") and "requests fail" in problem


def test_back_up_and_restore(shop):
    shop.prepare()
    shop.run("Back up")
    assert (shop.server.folder / "waiting").read_text().count("\n") == 1
    for language, text in sections()["Restore"]:
        if language == "sh" and "staging" in text:
            # Nothing is left to be done in the first one.
            assert "(0 rows)" in said
        if language == "sh":
            text = re.sub(r"https://example.com(/\w*)", lambda found: shop.receiver.url(found[1]), text)
            said = shop.shell(text)
        else:
            [(armed,)] = shop.sql(text)
            assert armed
    for name, path in (("shop2", "/"), ("staging", "/staging")):
        with shop.server.connect(name) as other:
            before = len(shop.receiver.got(path))
            other.execute("INSERT INTO orders (customer, total) VALUES ('Bob', 1)")
            wait_until(lambda: len(shop.receiver.got(path)) > before, name)


def test_many_databases(shop):
    shop.prepare()
    [[counts], [[slots]]] = shop.run("Many databases")
    assert counts == (1, 1) and slots == "16"


def test_erase(shop):
    shop.prepare()
    _, [(count,)], [job] = shop.run("Erase")
    # It is in the log and in the backlog.
    assert count == 1 and job == ("erase", "done", 2, 1)
    assert shop.sql("SELECT status, payload FROM webhook.deliveries") == [("cancelled", None)]


def test_uninstall(shop):
    shop.prepare()
    shop.run("Uninstall")
    assert shop.sql("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass") == [(0,)]
    assert shop.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'webhook'") == [(0,)]
    shop.db.run("INSERT INTO orders (customer, total) VALUES ('Ada', 42)")
