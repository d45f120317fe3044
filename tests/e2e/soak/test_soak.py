"""After an hour it is as after ten minutes: memory, files, disk and latency, while the log is cut and definitions change.

PGW_SOAK_SECONDS says for how long. What is compared are the second sixth of that time and the last one."""

import collections
import datetime
import json
import os
import random
import statistics
import subprocess
import threading
import time

import psycopg

from harness import Receiver, wait_until
from harness.cluster import Cluster, Database
from harness.memory import private_memory
from harness.places import BIN
from harness.receiver import reply

#: What a run takes that nobody has said more about. It is compared where the log is as large as it becomes before the first
#: part that is looked at, a sixth of the time, so after eight minutes.
SECONDS = 10
COMPARED = 50 * 60

#: What is looked at is looked at so many times, and no oftener than after so many seconds.
WINDOWS, SHORTEST = 60, 2

#: The log is kept for seven slots of a minute.
RETENTION = 7 * 60

#: Each row is an event of each, and a request in five to the last one fails: of all, one in twenty.
HOOKS = ("one", "two", "three", "flaky")
FAILING = 0.2
EVENTS_PER_SECOND = 500
CLIENTS = 4

#: What has failed so often is taken: a sixth retry would come after half a minute.
MOST = 3

#: By how much a figure may be higher in the end: as a factor, and what is to be expected of two measurements of the same.
FACTOR = 1.15
MORE = {"worker": 4, "launcher": 2, "session": 4, "files": 8, "disk": 16, "waiting": 500, "p50": 20, "p99": 100}


class Arrivals:
    """What has been taken, by webhook, and how long each took since it was written, in milliseconds."""

    def __init__(self):
        self.taken = collections.defaultdict(set)
        self.requests = self.failed = 0
        self._failures = collections.Counter()
        self._delays, self._dice = [], random.Random(1)

    def behaviour(self):
        good, bad = reply(200), reply(500)

        async def behave(connection):
            request = connection.request
            self.requests += 1
            name = request.path.strip("/")
            if name == "flaky" and self._dice.random() < FAILING and self._failures[request.id] < MOST:
                self.failed += 1
                self._failures[request.id] += 1
                return await bad(connection)
            self._failures.pop(request.id, None)
            record = json.loads(request.body)["record"]
            self.taken[name].add(record["id"])
            if name in HOOKS[:-1]:
                written = datetime.datetime.fromisoformat(record["at"]).timestamp()
                self._delays.append((request.time - written) * 1000)
            request.body = None
            return await good(connection)

        return behave

    def delays(self):
        """Since the last call."""
        delays, self._delays = self._delays, []
        return delays


def change(session, dice, number):
    """Something about a webhook, that stays or that is gone afterwards."""
    kind = dice.choice(HOOKS)
    what = number % 5
    if what == 0:
        session.execute("SELECT webhook_update(%s, max_concurrency => %s)", [kind, dice.randint(5, 20)])
    elif what == 1:
        session.execute("SELECT webhook_rotate_secret(%s, '1 minute')", [kind])
    elif what == 2:
        session.execute("SELECT webhook_pause('flaky'), webhook_resume('flaky')")
    elif what == 3:
        session.execute(
            "SELECT webhook_create(%s, url, 'others') FROM webhook.webhooks WHERE name = 'one'", [f"extra {number}"]
        )
        session.execute("INSERT INTO others VALUES (%s, now())", [-number])
    else:
        session.execute("SELECT webhook_delete(name) FROM webhook.webhooks WHERE name LIKE 'extra %'")


class Soak:
    def __init__(self, seconds):
        self.seconds = seconds
        self.server = Cluster("soak", pg_webhook__log_retention=f"'{RETENTION}s'").start()
        self.arrivals, self.receiver = Arrivals(), Receiver()
        # What there is to know about requests is counted; all of them would be the test's own growth.
        self.receiver.requests = collections.deque(maxlen=1000)
        self.receiver.default(self.arrivals.behaviour())
        self.db = Database(self.server, "soak").hand_over()
        self.db.run("CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL)")
        self.db.run("CREATE TABLE others (id bigint PRIMARY KEY, at timestamptz NOT NULL)")
        for name in HOOKS:
            self.db.create(name, self.receiver.url(f"/{name}"), table_name="items", retry_backoff_seconds=1, max_retries=20)
        self.windows, self.trouble = [], []
        self._ended = threading.Event()

    def close(self):
        self.receiver.close()
        self.server.destroy()

    def _change(self):
        dice, number = random.Random(1), 0
        with self.db.connect() as session:
            while not self._ended.wait(1):
                try:
                    change(session, dice, number)
                except psycopg.Error as error:
                    self.trouble.append(f"{error.sqlstate} {error}")
                number += 1

    def _writers(self):
        script = self.server.folder / "script.sql"
        script.write_text("INSERT INTO items (at) VALUES (clock_timestamp());\n")
        rate = EVENTS_PER_SECOND // len(HOOKS)
        command = [BIN / "pgbench", "-h", self.server.folder, "-p", self.server.port, "-U", self.db.owner, "-n", "-M", "prepared",
                   "-c", CLIENTS, "-j", 1, "-T", self.seconds, "-R", rate, "-f", script, self.db.name]
        return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"PATH": "/usr/bin:/bin"})

    def run(self):
        changing = threading.Thread(target=self._change)
        changing.start()
        writers = self._writers()
        try:
            # So long that the last look does not meet writers that have ended.
            ends = time.monotonic() + self.seconds - SHORTEST
            wait_until(lambda: self.arrivals.taken["one"] or writers.poll() is not None, "the first request")
            assert writers.poll() is None, writers.communicate()[0][-2000:]
            self.arrivals.delays()
            length = max(self.seconds / WINDOWS, SHORTEST)
            while time.monotonic() + length < ends:
                time.sleep(length)
                if delays := sorted(self.arrivals.delays()):
                    self.windows.append(self._look(delays))
            said = writers.communicate(timeout=60)[0]
            assert writers.returncode == 0, said[-2000:]
        finally:
            writers.kill()
            self._ended.set()
            changing.join()

    def _look(self, delays):
        judge = self.db.judge
        worker, launcher = self.db.worker(), judge.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_webhook launcher'")
        sessions = [pid for (pid,) in judge.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'")]
        return {
            "worker": private_memory(worker), "launcher": private_memory(launcher), "session": max(map(private_memory, sessions)),
            "files": len(os.listdir(f"/proc/{worker}/fd")),
            "disk": judge.value("SELECT sum(pg_table_size(oid) + pg_indexes_size(oid))::float FROM pg_class"
                                " WHERE relnamespace = 'webhook'::regnamespace AND relkind = 'r'") / 2**20,
            "waiting": judge.value("SELECT count(*) FROM webhook.pending"),
            "p50": statistics.median(delays), "p99": delays[len(delays) * 99 // 100],
        }

    def judge_all(self):
        self.db.settled()
        assert not self.trouble, self.trouble[:3]
        ids = {id for (id,) in self.db.rows("SELECT id FROM items")}
        for name in HOOKS:
            assert self.arrivals.taken[name] >= ids, f"{name}: {len(ids - self.arrivals.taken[name])} lost"
            assert self.arrivals.taken[name] - ids <= {id for (id,) in self.db.rows("SELECT id FROM others")}
        wrong = self.server.log_lines("TRAP|panicked|XX000")
        assert not wrong, wrong[:3]
        return len(ids)

    def judge_growth(self):
        """Each figure by its middle value over a sixth of the windows."""
        sixth = len(self.windows) // 6
        for what, more in MORE.items():
            before, after = (statistics.median(window[what] for window in windows)
                             for windows in (self.windows[sixth:2 * sixth], self.windows[-sixth:]))
            print(f"{what:10} {before:9.1f} after a sixth of the time, {after:9.1f} at its end")
            assert after <= FACTOR * before + more, f"{what} grows: {[round(window[what], 1) for window in self.windows]}"


def test_soak():
    soak = Soak(int(os.environ.get("PGW_SOAK_SECONDS") or SECONDS))
    try:
        soak.run()
        rows = soak.judge_all()
        print(f"\n{rows} rows, {soak.arrivals.requests} requests, {soak.arrivals.failed} of them failed, lost 0")
        for number, window in enumerate(soak.windows):
            print(number, " ".join(f"{what} {value:.1f}" for what, value in window.items()), flush=True)
        if soak.seconds >= COMPARED:
            soak.judge_growth()
        else:
            print(f"not compared: that takes {COMPARED} seconds")
    finally:
        soak.close()
