"""What goes on in a database meanwhile: writers, receivers that fail and are slow, and somebody who changes webhooks."""

import asyncio
import hashlib
import json
import random
import threading
import time

import psycopg

from harness.receiver import Hangup, reply

#: Each database has a webhook of each kind.
KINDS = ("fast", "slow", "flaky", "batched")

#: Events in a request of the last one, at most.
BATCH = 8

#: Bodies larger than this are kept as what tells them apart.
LARGE = 10_000

#: Seconds that an attempt may take. What makes a worker stand still for less makes no attempt fail.
TIMEOUT = 6


class Event:
    """One of a batch, as if it had come by itself."""

    def __init__(self, request, event):
        self._request = request
        self.id = event.pop("webhook-id")
        self.record = event["record"]["id"]
        self.digest = hashlib.sha256(json.dumps(event).encode()).digest()
        #: The signature is not of it.
        self.body = None

    def __getattr__(self, name):
        return getattr(self._request, name)


def answers(seed):
    """A behaviour that depends on the kind of webhook that the path names."""
    dice = random.Random(seed)
    good, bad = reply(200), reply(500)

    async def behave(connection):
        request = connection.request
        kind = request.path.split("?")[0].rsplit("/")[-1]
        request.digest = hashlib.sha256(request.body).digest()
        if kind == "batched":
            request.events = [Event(request, event) for event in json.loads(request.body)]
        else:
            request.record = json.loads(request.body)["record"]["id"]
            request.events = [request]
        if len(request.body) > LARGE:
            request.body = None
        if kind == "slow":
            await asyncio.sleep(dice.uniform(0.02, 0.3))
        if kind in ("flaky", "batched"):
            choice = dice.random()
            if choice < 0.002:
                await connection.until_closed()
            if choice < 0.01:
                raise Hangup
            if choice < 0.06:
                return await bad(connection)
        return await good(connection)

    return behave


class Going:
    """Something that goes on in threads of its own until it is stopped, also over ends of the server."""

    def __init__(self, server, name, seed, steps):
        self.server, self.name = server, name
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(step, random.Random(f"{seed}/{number}")), daemon=True)
            for number, step in enumerate(steps)
        ]
        self.trouble = []
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, step, dice):
        while not self._stopping.is_set():
            try:
                with self.server().connect(self.name, autocommit=False) as connection:
                    while not self._stopping.is_set():
                        step(connection, dice)
            except (psycopg.OperationalError, psycopg.errors.DiskFull):
                time.sleep(0.05)  # the server is down, or its disk full
            except psycopg.Error as error:
                self.trouble.append(f"{error.sqlstate} {error}")
                time.sleep(0.05)


class Writers(Going):
    """Insert rows with ids of their own. Which of them are there in the end is for the table to say."""

    def __init__(self, server, name, seed, count=2):
        self._lock, self._last = threading.Lock(), 0
        #: Acknowledged, and to be there for good.
        self.committed = set()
        #: Not waited for: a standby may lack them that has all of the others.
        self.loose = set()
        super().__init__(server, name, seed, [self._transaction] * count)

    def _ids(self, count):
        with self._lock:
            self._last += count
            return range(self._last - count + 1, self._last + 1)

    def _insert(self, connection, ids, dice):
        rows = [(i, "x" * (dice.choice((20_000, 100_000)) if dice.random() < 0.004 else 20)) for i in ids]
        connection.cursor().executemany("INSERT INTO items VALUES (%s, %s)", rows)

    def _transaction(self, connection, dice):
        ids = list(self._ids(dice.choice([1, 1, 1, 5, 20])))
        half = len(ids) // 2
        durable = dice.random() < 0.5
        if not durable:
            self.loose.update(ids)
        connection.execute(f"SET LOCAL synchronous_commit = {'on' if durable else 'off'}")
        self._insert(connection, ids[:half], dice)
        if dice.random() < 0.2:
            connection.execute("SAVEPOINT s")
            self._insert(connection, self._ids(2), dice)
            connection.execute("ROLLBACK TO s")
        self._insert(connection, ids[half:], dice)
        how = dice.random()
        if how < 0.1:
            connection.rollback()
        elif how < 0.2:
            # Whoever finds it later knows by its name how it is to end.
            end = dice.choice(("COMMIT", "ROLLBACK"))
            name = f"{end}-{self.name}-{ids[0]}"
            connection.execute(f"PREPARE TRANSACTION '{name}'")
            connection.autocommit = True
            if dice.random() < 0.8:
                connection.execute(f"{end} PREPARED '{name}'")
                if end == "COMMIT":
                    self.committed.update(ids)
            connection.autocommit = False
        else:
            connection.commit()
            if durable:
                self.committed.update(ids)
        time.sleep(dice.uniform(0, 0.06))


class Managers(Going):
    """Change webhooks, cancel and replay."""

    def __init__(self, server, name, seed, secrets):
        #: By kind; what else may have signed is not known where an answer was lost.
        self.secrets, self.unknown_secrets = secrets, set()
        #: When the cancellation of an event was acknowledged.
        self.cancelled = {}
        super().__init__(server, name, seed, [self._change])

    def _change(self, connection, dice):
        connection.autocommit = True
        kind = dice.choice(KINDS)
        what = dice.choice((self._pause, self._cancel, self._cancel, self._replay, self._update, self._rotate))
        what(connection, dice, kind)
        time.sleep(dice.uniform(0.05, 0.3))

    def _pause(self, connection, dice, kind):
        connection.execute("SELECT webhook_pause(%s)", [kind])
        time.sleep(dice.uniform(0, 0.3))
        connection.execute("SELECT webhook_resume(%s)", [kind])

    def _cancel(self, connection, dice, kind):
        # Never one of an event that has been replayed: of such the requests tell nothing.
        waiting = connection.execute(
            "SELECT id, event_id FROM webhook.deliveries AS d WHERE webhook = %s AND status IN ('pending', 'retrying')"
            " ORDER BY id DESC LIMIT 3", [kind],
        ).fetchall()
        for delivery, event in waiting:
            if event.endswith(f"_{delivery}") and connection.execute("SELECT webhook_cancel(%s)", [delivery]).fetchone()[0]:
                self.cancelled[event] = time.time()

    def _replay(self, connection, dice, kind):
        done = connection.execute(
            "SELECT id, event_id FROM webhook.deliveries WHERE webhook = %s AND status = 'delivered' ORDER BY id DESC LIMIT 5", [kind]
        ).fetchall()
        for delivery, event in done:
            connection.execute("SELECT webhook_replay(%s)", [delivery])

    def _update(self, connection, dice, kind):
        connection.execute(
            "SELECT webhook_update(%s, max_concurrency => %s, url => regexp_replace(url, '(\\?.*)?$', %s)) FROM webhook.webhooks WHERE name = %s",
            [kind, dice.randint(4, 20), f"?{dice.randrange(1000)}", kind],
        )

    def _rotate(self, connection, dice, kind):
        known = kind not in self.unknown_secrets
        self.unknown_secrets.add(kind)
        secret = connection.execute("SELECT webhook_rotate_secret(%s, '1 day')", [kind]).fetchone()[0]
        self.secrets[kind].append(secret)
        if known:
            self.unknown_secrets.discard(kind)
