"""Many writers on few keys while all goes wrong: what is attempted is judged by what the database says of commits."""

import bisect
import collections
import datetime
import itertools
import json
import random
import threading
import time

import psycopg
import pytest

from harness import wait_until
from harness.receiver import after, reply

KEYS = 5
WRITERS = 6


class Writers:
    """Sessions that change few rows, in transactions of all kinds, and survive the end of the server."""

    def __init__(self, db, seed):
        self.db, self.ended = db, threading.Event()
        self._numbers = itertools.count(1)
        self._threads = [threading.Thread(target=self._go, args=(random.Random(f"{seed}-{n}"),)) for n in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self.ended.set()
        for thread in self._threads:
            thread.join()

    def _go(self, dice):
        while not self.ended.is_set():
            try:
                with self.db.connect(autocommit=False) as session:
                    while not self.ended.is_set():
                        self._transaction(session, dice)
                        time.sleep(dice.random() * 0.03)
            except psycopg.Error:
                time.sleep(0.1)

    def _change(self, session, dice):
        row = dice.randrange(KEYS)
        session.execute("UPDATE items SET n = %s, customer = %s WHERE id = %s", (next(self._numbers), str(row % 3), row))

    def _transaction(self, session, dice):
        session.execute("SET LOCAL lock_timeout = '1s'")
        try:
            # An early transaction number, whenever it changes the row.
            if dice.random() < 0.3:
                session.execute("INSERT INTO others DEFAULT VALUES")
                time.sleep(dice.random() * 0.05)
            # In the order of rows, so that nobody waits in a circle; mostly one.
            for _ in range(dice.choice([1, 1, 1, 2])):
                self._change(session, dice)
            if dice.random() < 0.2:
                session.execute("SAVEPOINT s")
                self._change(session, dice)
                session.execute("ROLLBACK TO s")
            if dice.random() < 0.1:
                time.sleep(dice.random() * 0.3)
            if dice.random() < 0.1:
                name = f"p{dice.randrange(10**9)}"
                session.execute(f"PREPARE TRANSACTION '{name}'")
                time.sleep(dice.random() * 0.1)
                session.autocommit = True
                session.execute(f"COMMIT PREPARED '{name}'")
                session.autocommit = False
            elif dice.random() < 0.1:
                session.rollback()
            else:
                session.commit()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            session.rollback()


def moody(dice, well):
    """Of so many answers that are well two are not."""
    behaviours = [reply(200)] * well + [after(0.02, reply(200)), reply(500), reply(503)]

    async def behave(connection):
        return await dice.choice(behaviours)(connection)

    return behave


def ids(request):
    """Of the events in it, in their order."""
    events = [event["id"] for event in json.loads(request.body)] if "webhook-batch" in request.headers else [request.id]
    return [int(event.rsplit("_", 1)[1]) for event in events]


def violations(receiver, events, slack=datetime.timedelta()):
    """What is wrong with the order of requests. events: of each id its key and when it has committed, which becomes visible up to
    `slack` later."""
    wrong = []
    accepted = set()
    #: Of each key those that have been attempted, by id, and those of them that have not been accepted.
    begun, unfinished = collections.defaultdict(list), collections.defaultdict(set)
    seen = set()
    for request in receiver.got():
        together = set()
        for id in ids(request):
            key, committed = events[id]
            if id not in seen:
                wrong += [f"{id} before {other} was finished" for other in unfinished[key] - together]
                place = bisect.bisect(begun[key], id)
                later = (other for other in begun[key][place:] if committed + slack <= events[other][1])
                wrong += [f"{id} after {other}, which has committed later" for other in later]
                begun[key].insert(place, id)
                seen.add(id)
                unfinished[key].add(id)
            together.add(id)
        if request.answered == 200:
            accepted |= together
            for id in together:
                unfinished[events[id][0]].discard(id)
    return wrong, accepted


def known(db, by):
    """Of each event its key and the moment of its commit."""
    rows = db.judge.rows("SELECT e.id, e.payload::json -> 'record' ->> %s, pg_xact_commit_timestamp(e.xid::xid) FROM webhook.event AS e WHERE e.event_type = 'UPDATE'", by)
    return {id: (key, committed) for id, key, committed in rows}


def begin(own_cluster, make_db, receiver, level="all", **settings):
    server = own_cluster(track_commit_timestamp="on", pg_webhook__log_level=level)
    db = make_db(server).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, n int, customer text); CREATE TABLE others (id bigserial PRIMARY KEY)")
    db.run(f"INSERT INTO items SELECT i, 0, (i % 3)::text FROM generate_series(0, {KEYS - 1}) AS i")
    db.create(
        "hook", receiver.url("/"), table_name="items", events=["UPDATE"], retry_backoff_seconds=1, max_concurrency=20, **settings,
    )
    return db


def back(db):
    """The server is there again."""
    wait_until(lambda: _connects(db), "the server to be back")
    db.connection, db.judge.connection = db.connect(), db.cluster.connect(db.name)


def _connects(db):
    try:
        db.cluster.connect(db.name).close()
        return True
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize("by, settings", [
    ("id", {}), ("customer", {"order_key": ["customer"]}), ("id", {"batch_size": 20}), ("customer", {"order_key": ["customer"], "batch_size": 20}),
], ids=["row", "column", "row in batches", "column in batches"])
# Where much fails nearly all goes through the backlog, and otherwise straight.
@pytest.mark.parametrize("level, well", [("all", 6), ("all", 300), ("none", 100)])
def test_each_key_is_in_order_whatever_happens(own_cluster, make_db, receiver, by, settings, level, well):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    db = begin(own_cluster, make_db, receiver, level, ordering="key", on_failure="block", **settings)
    receiver.default(moody(random.Random(seed), well))
    writers = Writers(db, seed)
    epochs = []
    try:
        time.sleep(3)
        # All goes to the backlog.
        receiver.down()
        # Answers are lost, too.
        epochs.append(time.time())
        time.sleep(3)
        receiver.up()
        time.sleep(2)
        worker = db.judge.value("SELECT pid FROM webhook.worker")
        db.cluster.crash_of(worker)
        epochs.append(time.time())
        back(db)
        time.sleep(3)
        db.cluster.crash()
        epochs.append(time.time())
        db.cluster.start()
        back(db)
        time.sleep(3)
    finally:
        writers.stop()
    receiver.default(reply(200))
    for name, in db.judge.rows("SELECT gid FROM pg_prepared_xacts"):
        db.judge.run(f"COMMIT PREPARED '{name}'")
    wait_until(lambda: set(db.statuses()) == {"delivered"}, db.statuses, 120)
    events = known(db, by)
    # Changes of one row wait for each other until they are visible; those of several do not.
    slack = datetime.timedelta(seconds=0 if by == "id" else 1)
    wrong, accepted = violations(receiver, events, slack)
    assert not wrong, (seed, wrong[:5])
    assert accepted == events.keys(), f"{len(events.keys() - accepted)} lost"
    assert len(events) > 200 and len({key for key, _ in events.values()}) > 1
    repeats_are_in_order(receiver, events, epochs, by)
    if "batch_size" in settings:
        bodies_stay(receiver)
    assert not db.judge.value("SELECT count(*) FROM webhook.place")
    db.counts_agree()


def bodies_stay(receiver):
    """What comes again under one id is the same, and there are batches with several events of a key."""
    bodies = collections.defaultdict(set)
    for request in receiver.got():
        bodies[request.id].add(request.body)
    assert max(map(len, bodies.values())) == 1
    several = lambda rows: len(set(rows)) < len(rows)
    assert any(several([event["record"]["id"] for event in json.loads(request.body)]) for request in receiver.got())


def repeats_are_in_order(receiver, events, epochs, by):
    """What has been accepted comes again only after a crash, and then in its order."""
    first = {}
    for request in receiver.got():
        for id in ids(request):
            first.setdefault(id, len(first))
    accepted, last, epoch = {}, {}, 0
    for request in receiver.got():
        now = sum(at < request.time for at in epochs)
        if now != epoch:
            epoch, last = now, {}
        begins = {}
        for id in ids(request):
            key = events[id][0]
            begins.setdefault(key, (first[id], id))
            before = last.get(key, (-1, 0))
            # Of several rows with one key a smaller id may have become visible meanwhile, and comes first then.
            assert first[id] >= before[0] or by != "id" and id > before[1], f"{id} comes again behind others of its key"
            last[key] = (first[id], id)
            if id in accepted:
                assert accepted[id] < epoch, f"{id} comes again without a crash"
            if request.answered == 200:
                accepted[id] = epoch
        # What has not been taken comes again as a whole.
        if request.answered != 200:
            last.update(begins)


def test_without_an_order_the_judge_finds_what_is_wrong(own_cluster, make_db, receiver):
    db = begin(own_cluster, make_db, receiver)
    receiver.default(moody(random.Random(1), 6))
    writers = Writers(db, 1)
    try:
        time.sleep(6)
    finally:
        writers.stop()
    receiver.default(reply(200))
    wait_until(lambda: set(db.statuses()) == {"delivered"}, db.statuses, 120)
    wrong, accepted = violations(receiver, known(db, "id"))
    assert wrong and accepted == known(db, "id").keys()
