"""Whatever happens: what was committed arrives, what was not does not, nothing arrives too often or long after it was cancelled.

A run is made of rounds, each with a new server, some faults and a verdict. PGW_TORTURE_SEED repeats the faults of an earlier
run, PGW_TORTURE_CYCLES says how many there are, or PGW_TORTURE_SECONDS for how long. What the load does meanwhile depends on
the machine as well."""

import collections
import datetime
import itertools
import os
import random
import shutil
import time

import psycopg
from standardwebhooks import Webhook

from harness import Receiver, wait_until
from harness.cluster import Cluster, Database

from .faults import CRASH, FAULTS, Victim, drawn, fast_stop
from .load import BATCH, KINDS, TIMEOUT, Managers, Writers, answers

#: What a run takes that nobody has said more about.
SECONDS = 20

#: Faults of a round. More, and what has arrived takes much memory; fewer, and most of the time goes into beginning.
ROUND = 15

DATABASES = ("one", "two")

#: Seconds that a fast shutdown may take, by docs/guarantees.md; and what the server itself may take on a machine with much
#: to do.
STOP = 3 + 2

#: Of what was answered before a crash so many requests may be repeated, in each database: what was under way, at most the setting
#: max_concurrency, and outcomes that nobody had written down (see src/delivery/pool.rs and src/worker/ledger.rs).
REPEATS = 100 + 512 + 512

#: Seconds after which nothing is sent of what has been cancelled.
CANCELLED = 5


class Round:
    """A server, its load, and what has happened to it."""

    def __init__(self, seed):
        self.seed = seed
        server = Cluster("torture", restart_after_crash="on", wal_writer_delay="'1s'", checkpoint_timeout="'30s'")
        self.victim = Victim(server)
        self.victim.start()
        self.receiver = Receiver()
        self.receiver.default(answers(seed))
        #: Each with what it has cost, when it began and when it ended.
        self.faults = []
        self.databases = {name: Database(server, name) for name in DATABASES}
        self.writers, self.managers = {}, {}
        for name, db in self.databases.items():
            db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
            secrets = {}
            for kind in KINDS:
                made = db.create(kind, self.receiver.url(f"/{name}/{kind}"), table_name="items", max_concurrency=10,
                                 retry_backoff_seconds=1, timeout_seconds=TIMEOUT, batch_size=BATCH if kind == "batched" else 1)
                secrets[kind] = [made["secret"]]
            db.close()
            self.writers[name] = Writers(lambda: self.victim.server, name, f"{seed}/{name}")
            self.managers[name] = Managers(lambda: self.victim.server, name, f"{seed}/{name}/m", secrets)

    def close(self):
        for going in (*self.writers.values(), *self.managers.values()):
            going.stop()
        self.receiver.close()
        self.victim.server.destroy()

    def suffer(self, fault, dice, after):
        """One fault, when so many more requests have come or a while has passed."""
        before = len(self.receiver.requests)
        deadline = time.monotonic() + 1.5
        while len(self.receiver.requests) < before + after and time.monotonic() < deadline:
            time.sleep(0.02)
        began = time.time()
        cost = fault(self.victim, dice) or FAULTS[fault][0]
        self.victim.back()
        self.faults.append((fault, cost, began, time.time()))
        if fault.__name__ == "fast_stop":
            assert self.victim.took <= STOP, f"a stop took {self.victim.took:.1f} s"

    def end(self):
        """Nothing more happens, and what there is comes to its end."""
        for going in (*self.writers.values(), *self.managers.values()):
            going.stop()
            assert not going.trouble, going.trouble[:3]
        # One that begins anew suspects no event of having ended the last ones, and does not send one at a time.
        fast_stop(self.victim, None)
        for db in self.databases.values():
            db.connection = self.victim.server.connect(db.name)
            for (name,) in db.rows("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
                db.run(f"{name.split('-')[0]} PREPARED '{name}'")
            for kind in KINDS:
                db.run("SELECT webhook_resume(%s)", kind)
        for db in self.databases.values():
            self.settle(db)

    def settle(self, db):
        """A worker that has crashed several times in a row sends one event at a time until it has been through: that takes
        as long as it takes, but it goes on."""
        waiting = "SELECT webhook, status, count(*), min(next_attempt_at) - now() FROM webhook.deliveries" \
                  " WHERE status IN ('pending', 'retrying') GROUP BY 1, 2"
        left = db.rows(waiting)
        while left:
            before = len(self.receiver.requests)
            wait_until(lambda: len(self.receiver.requests) > before or not db.rows(waiting),
                       lambda: f"{db.name} to go on: {db.rows(waiting)}; {db.rows('SELECT * FROM webhook.worker')}", 60, interval=0.2)
            left = db.rows(waiting)

    def judge(self):
        """Compare what arrived with what there is. Returns the numbers."""
        arrived = collections.defaultdict(list)
        bodies = collections.defaultdict(set)
        for request in self.receiver.got():
            name, kind = request.path.split("?")[0].strip("/").split("/")
            bodies[name, kind, request.id].add(request.digest)
            for event in request.events:
                arrived[name, kind, event.id].append(event)
        several = [key for key, digests in bodies.items() if len(digests) > 1]
        assert not several, f"several bodies of {several[:3]}"
        numbers = collections.Counter()
        costs = collections.Counter()
        for name, db in self.databases.items():
            rows = {row[0] for row in db.rows("SELECT id FROM items")}
            missing = self.writers[name].committed - rows
            assert not missing, f"the server has lost {len(missing)} of its own"
            found = collections.defaultdict(list)
            deliveries = db.rows("SELECT webhook, event_id, status, (payload::json -> 'record' ->> 'id')::int FROM webhook.deliveries")
            for kind, event, status, record in deliveries:
                found[kind, event].append((status, record))
            numbers["events"] += len(found)
            for kind in KINDS:
                captured = collections.Counter(fates[0][1] for (other, _), fates in found.items() if other == kind)
                assert set(captured) == rows, f"{name}, {kind}: captured is not what there is"
                assert set(captured.values()) <= {1}
            for (kind, event), fates in found.items():
                self.judge_event(name, kind, event, fates, arrived.pop((name, kind, event), []), numbers, costs)
        # What a transaction has written that does not wait for the standby may be sent before that has it.
        phantom = {
            (name, kind, event): len(requests) for (name, kind, event), requests in arrived.items()
            if not (self.victim.promotions and {request.record for request in requests} <= self.writers[name].loose)
        }
        assert not phantom, f"{len(phantom)} of nothing, for example {sorted(phantom)[:3]}"
        for (number, size), cost in costs.items():
            fault = self.faults[number][0].__name__
            assert cost <= len(DATABASES) * REPEATS * size, f"{cost} repeated by {fault}"
        numbers["repeated"] = costs.total()
        return numbers

    def judge_event(self, name, kind, event, fates, requests, numbers, costs):
        where = f"{name}, {kind}, {event}, {fates}"
        statuses = [status for status, _ in fates]
        assert set(statuses) <= {"delivered", "cancelled"}, where
        taken = sorted((request for request in requests if request.answered == 200), key=lambda request: request.time)
        assert len(taken) >= statuses.count("delivered"), f"{where}: lost, {len(taken)} taken"
        assert {request.record for request in requests} <= {fates[0][1]}, where
        assert len({request.digest for request in requests}) <= 1, f"{where}: several bodies"
        managers = self.managers[name]
        for request in requests[:1]:
            if request.body is not None and kind not in managers.unknown_secrets:
                assert any(accepts(secret, request) for secret in managers.secrets[kind]), f"{where}: not signed"
        cancelled = managers.cancelled.get(event)
        if cancelled and len(fates) == 1:
            late = [request.time - cancelled for request in requests if request.time > cancelled + CANCELLED]
            assert not late, f"{where}: sent {late} s after it was cancelled"
            numbers["cancelled"] += statuses == ["cancelled"]
        numbers["replayed"] += len(fates) - 1
        # No request says for which of an event's deliveries it is: what was taken is divided among as few of them as possible,
        # where a delivery is taken again only after a crash.
        last, blamed = [], []
        for request in taken:
            for before in sorted(last, key=lambda before: -before.time):
                if (crash := self.crash_between(before, request)) is not None:
                    last.remove(before)
                    blamed.append(crash)
                    break
            last.append(request)
        times = [round(request.time, 2) for request in taken]
        faults = [(fault.__name__, cost, round(began, 2), round(ended, 2)) for fault, cost, began, ended in self.faults
                  if taken and ended >= taken[0].time - 1 and began <= taken[-1].time]
        sent = max(statuses.count("delivered"), 1)
        assert len(last) <= sent, f"{where}: taken at {times} without a crash, of {faults}"
        size = BATCH if kind == "batched" else 1
        costs.update((crash, size) for crash in blamed[:len(taken) - sent])

    def crash_between(self, before, after):
        """The number of the first crash that may have made that which was taken before be taken again."""
        for number, (_, cost, began, ended) in enumerate(self.faults):
            if cost == CRASH and before.time <= ended and after.time >= began:
                return number
        return None


def accepts(secret, request):
    """Whether that secret has signed it, whatever its time."""
    at = datetime.datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), datetime.UTC)
    return Webhook(secret).sign(request.id, at, request.body.decode()) in request.headers["webhook-signature"].split()


def test_torture():
    seed = os.environ.get("PGW_TORTURE_SEED") or str(random.SystemRandom().randrange(10**9))
    cycles = int(os.environ.get("PGW_TORTURE_CYCLES") or 0)
    seconds = float(os.environ.get("PGW_TORTURE_SECONDS") or SECONDS)
    deadline = time.monotonic() + seconds
    done, numbers, counts = 0, collections.Counter(), collections.Counter()
    for number in itertools.count():
        round_ = Round(f"{seed}/{number}")
        source = drawn(f"{seed}/{number}")
        try:
            for _ in range(ROUND):
                if done >= cycles if cycles else time.monotonic() > deadline:
                    break
                fault, dice, after = next(source)
                counts[fault.__name__] += 1
                round_.suffer(fault, dice, after)
                done += 1
            round_.end()
            numbers.update(round_.judge())
            round_.victim.look_for_what_is_wrong()
            assert not round_.victim.wrong, round_.victim.wrong[:3]
        except BaseException:
            happened = [(fault.__name__, *rest) for fault, *rest in round_.faults]
            print(f"seed {seed}, round {number}, cycle {done}: {happened}")
            keep = os.environ.get("PGW_TORTURE_KEEP")
            if keep:
                shutil.copy(round_.victim.server.log, keep)
            raise
        finally:
            round_.close()
        if done >= cycles if cycles else time.monotonic() > deadline:
            break
    print(f"\nseed {seed}, {done} cycles, {number + 1} rounds: lost 0, phantom 0, {dict(numbers)}; {dict(counts)}")
