"""The database of a benchmark: a table with rows of about 350 bytes of JSON, and what is done to it."""

import re
import subprocess
import time

from harness.cluster import BIN, Database
from harness.waiting import wait_until

TABLE = """CREATE TABLE {name} (
    id bigint, customer text, note text, total numeric, placed timestamptz, quantity int, paid boolean,
    weight double precision, kind text)"""
ROWS = """INSERT INTO {name} SELECT i, 'customer ' || i, repeat('some text ', 4), i * 1.5, now(), i, true, i / 3.0, 'abc'
    FROM generate_series({first}, {last}) AS i"""


class Stage:
    """One database with a watched table `orders`."""

    def __init__(self, server, name, url, **settings):
        self.server = server
        self.db = Database(server, name)
        self.db.run(TABLE.format(name="orders"))
        if url:
            self.db.create("healthy", url, table_name="orders", **{"max_concurrency": 64, **settings})
        self.pid = self.db.wait_for_worker()

    def fill(self, first, last, table="orders"):
        self.db.run(ROWS.format(name=table, first=first, last=last))

    def fill_at_random(self, table, count, size):
        """Rows with a text of so many bytes, which hardly can be compressed."""
        self.db.run(f"INSERT INTO {table} SELECT i, string_agg(md5(random()::text), '')"
                    " FROM generate_series(1, %s::int) AS i, generate_series(1, %s::int) GROUP BY i", count, size // 32)

    def sending(self, on):
        """The kill switch."""
        self.server.reload(pg_webhook__enabled="on" if on else "off")
        state = "on" if on else "off"
        wait_until(lambda: self.db.value("SHOW pg_webhook.enabled") == state, "the reload")

    def finished(self, webhook="healthy"):
        """Attempts of a webhook that ended well."""
        return self.db.value(
            "SELECT count(*) FROM webhook.attempt WHERE verdict = 'delivered' AND webhook_id ="
            " (SELECT uuid FROM webhook.webhook WHERE name = %s)", webhook)

    def pgbench(self, script, seconds, clients=8, rate=None, settings=()):
        """Transactions per second of a script of statements, or of TPC-B where there is none; at most
        `rate` where one is given. Returns when the server has counted what its sessions have used."""
        command = [*self._pgbench(), "-c", str(clients), "-j", "2", "-T", str(seconds), "-M", "prepared"]
        if script:
            path = self.server.folder / "script.sql"
            path.write_text(script)
            # Otherwise pgbench vacuums the small tables of TPC-B, which an autoanalyze may have made grow.
            command += ["-n", "-f", path]
        command += ["-R", str(rate)] if rate else []
        environment = {"PGOPTIONS": " ".join(f"-c {s}" for s in settings), "PATH": "/usr/bin:/bin"}
        of_ours, processes = f" {self.db.name} [local]", self.server.processes
        others = set(processes(of_ours))
        done = subprocess.run([*map(str, command), self.db.name], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        # One that has ended and is not counted has no title any more.
        wait_until(lambda: set(processes(of_ours)) <= others and processes("") == processes("postgres"), "pgbench's sessions to end")
        return float(re.search(r"tps = ([\d.]+)", done.stdout)[1])

    def pgbench_tables(self, scale):
        """The tables of TPC-B."""
        command = [*self._pgbench(), "-i", "-q", "-s", str(scale), self.db.name]
        subprocess.run(command, check=True, capture_output=True)

    def _pgbench(self):
        return [BIN / "pgbench", "-h", self.server.folder, "-p", str(self.server.port), "-U", "postgres"]

    def delays(self, since, webhook="healthy"):
        """Milliseconds from the writing of an event to its first attempt: p50, p99, longest."""
        row = self.db.rows(
            "SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY"
            " extract(epoch FROM a.started_at - e.created_at) * 1000)"
            " FROM webhook.attempt a JOIN webhook.event e ON e.id = a.delivery AND e.xid = a.xid"
            " JOIN webhook.webhook w ON w.uuid = a.webhook_id"
            " WHERE w.name = %s AND a.attempt = 1 AND e.created_at >= %s", webhook, since)[0][0]
        return [float(value) for value in row] if row else [0.0, 0.0, 0.0]

    def now(self):
        return self.db.value("SELECT clock_timestamp()")

    def wal(self):
        """Bytes of WAL so far."""
        return float(self.db.value("SELECT pg_current_wal_lsn() - '0/0'"))

    def spilled(self):
        """Events that did not go straight into their lane, since the database was made."""
        self.db.run("SELECT pg_stat_force_next_flush()")
        return self.db.value("SELECT pg_stat_get_tuples_inserted('webhook.pending'::regclass)")

    def settle(self, count, webhook="healthy", timeout=120):
        wait_until(lambda: self.finished(webhook) >= count, lambda: f"{count} delivered; {self.finished(webhook)} are",
                   timeout, interval=0.25)

    def drop(self):
        self.db.drop()


INSERT = """\\set id random(1, 1000000)
INSERT INTO orders VALUES (:id, 'customer', 'some text some text some text some text', 1.5, now(), 7, true, 0.5, 'abc');
"""


def pause(seconds):
    """Time that is part of what is measured."""
    time.sleep(seconds)
