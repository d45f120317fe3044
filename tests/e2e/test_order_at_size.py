"""The order of very many changes: `make order CHANGES=1000000` does so many, and the suite fewer."""

import datetime
import os
import random
import threading
import time

import psycopg
import pytest

from harness import wait_until
from harness.receiver import reply
from test_order_random import back, begin, known, moody, violations

CHANGES = int(os.environ.get("PGW_ORDER_CHANGES") or 20_000)

ROWS = 200

SESSIONS = 6

#: Transactions of all kinds, in one call: some have an early number and change a row late, some change two rows, some take back a part.
CHURN = f"""
CREATE PROCEDURE churn(until int) LANGUAGE plpgsql AS $$
DECLARE
    made int := 0;
    one int;
BEGIN
    WHILE made < until LOOP
        one := floor(random() * {ROWS});
        IF random() < 0.2 THEN
            INSERT INTO others DEFAULT VALUES;
            IF random() < 0.02 THEN
                PERFORM pg_sleep(0.02);
            END IF;
        END IF;
        UPDATE items SET n = n + 1, customer = (id % 50)::text WHERE id = one;
        made := made + 1;
        IF random() < 0.1 THEN
            UPDATE items SET n = n + 1 WHERE id > one AND id <= one + 2;
            made := made + 2;
        END IF;
        IF random() < 0.1 THEN
            BEGIN
                UPDATE items SET n = n + 1 WHERE id = one;
                RAISE 'taken back';
            EXCEPTION WHEN raise_exception THEN
                NULL;
            END;
        END IF;
        IF random() < 0.05 THEN
            ROLLBACK;
        ELSE
            COMMIT;
        END IF;
    END LOOP;
END$$;
"""


class Churning:
    """Sessions that make so many changes, and go on after a crash."""

    def __init__(self, db):
        self.db, self._left = db, [CHANGES // SESSIONS] * SESSIONS
        self._threads = [threading.Thread(target=self._go, args=(n,)) for n in range(SESSIONS)]
        for thread in self._threads:
            thread.start()

    def are_busy(self):
        return any(thread.is_alive() for thread in self._threads)

    def end(self):
        self._left = [0] * SESSIONS
        for thread in self._threads:
            thread.join()

    def _go(self, n):
        while self._left[n] > 0:
            # In parts, so that a crash costs few.
            part = min(self._left[n], 500)
            try:
                with self.db.connect() as session:
                    session.execute("CALL churn(%s::int)", [part])
                    self._left[n] -= part
            except psycopg.errors.DeadlockDetected:
                pass
            except psycopg.Error:
                time.sleep(0.1)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("settings", [{"batch_size": 50}, {"batch_size": 50, "order_key": ["customer"]}], ids=["row", "column"])
def test_so_many_changes_are_in_order(own_cluster, make_db, receiver, settings):
    by = "customer" if "order_key" in settings else "id"
    db = begin(own_cluster, make_db, receiver, ordering="key", on_failure="block", **settings)
    db.run(f"INSERT INTO items SELECT i, 0, '0' FROM generate_series(10, {ROWS}) AS i")
    db.run(CHURN)
    receiver.default(moody(random.Random(CHANGES), 300))
    churning = Churning(db)
    try:
        attempted = lambda: len(receiver.got())
        for cause in ("the endpoint is away", "the worker crashes", "the worker crashes", "the server stops at once"):
            so_far = attempted()
            wait_until(lambda: attempted() > so_far + 20 or not churning.are_busy(), "requests", 120)
            if cause == "the endpoint is away":
                receiver.down()
                time.sleep(2)
                receiver.up()
            elif cause == "the worker crashes":
                worker = wait_until(lambda: db.judge.value("SELECT pid FROM webhook.worker"), "a worker", 60)
                db.cluster.crash_of(worker)
                back(db)
            else:
                db.cluster.crash()
                db.cluster.start()
                back(db)
        wait_until(lambda: not churning.are_busy(), "the writers", 3000, interval=1)
    finally:
        churning.end()
    receiver.default(reply(200))
    wait_until(lambda: not db.judge.value("SELECT pending + held FROM webhook.stats"), db.statuses, 1200, interval=1)
    db.settled(600)
    events = known(db, by)
    wrong, accepted = violations(receiver, events, datetime.timedelta(seconds=0 if by == "id" else 1))
    assert not wrong, wrong[:5]
    assert accepted == events.keys(), f"{len(events.keys() - accepted)} lost"
    assert len(events) > CHANGES * 0.8
    print(f"{len(events)} changes, {len(receiver.got())} requests, 0 violations")
    wait_until(lambda: not db.judge.value("SELECT count(*) FROM webhook.place"), "no places to be left")
    db.counts_agree()
