"""Many transactions at once, ending in another order than they began: each event is read exactly once."""

import collections
import json
import random
import threading

ROLLED_BACK = 0.15
PREPARED = 0.1


def writer(database, number, transactions, committed, failures):
    """Transactions of random length with savepoints, some rolled back, some prepared first."""
    choose = random.Random(number)
    try:
        with database.connect(autocommit=False) as connection:
            for turn in range(transactions):
                ids = [number * 1_000_000 + turn * 100 + n for n in range(choose.choice([1, 2, 3, 40]))]
                kept = []
                for i in ids:
                    undone = choose.random() < 0.1
                    if undone:
                        connection.execute("SAVEPOINT s")
                    connection.execute("INSERT INTO items VALUES (%s)", [i])
                    if undone:
                        connection.execute("ROLLBACK TO SAVEPOINT s")
                    else:
                        kept.append(i)
                chance = choose.random()
                if chance < ROLLED_BACK:
                    connection.rollback()
                    continue
                if chance < ROLLED_BACK + PREPARED:
                    name = f"{database.name}-{number}-{turn}"
                    connection.execute(f"PREPARE TRANSACTION '{name}'")
                    connection.commit()
                    connection.autocommit = True
                    connection.execute(f"COMMIT PREPARED '{name}'")
                    connection.autocommit = False
                else:
                    connection.commit()
                committed.update(kept)
    except Exception as error:  # in a thread: to be reported by the test
        failures.append(error)


def test_overlapping_writers_lose_and_double_nothing(db, receiver):
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", events=["INSERT"])
    committed, failures = set(), []
    # One transaction stays open all the while, with a row of its own at its beginning and its end.
    with db.connect(autocommit=False) as long:
        long.execute("INSERT INTO items VALUES (1)")
        threads = [
            threading.Thread(target=writer, args=(db, number, 60, committed, failures))
            for number in range(1, 17)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        db.wait_for_status(len(committed))
        long.execute("INSERT INTO items VALUES (2)")
        long.commit()
    committed |= {1, 2}
    db.wait_for_status(len(committed))
    arrived = collections.Counter(json.loads(r.body)["record"]["id"] for r in receiver.got())
    assert set(arrived) == committed == {row[0] for row in db.rows("SELECT id FROM items")}
    assert set(arrived.values()) == {1}
    assert len(committed) > 1000


def test_an_old_snapshot_elsewhere_delays_nothing(db, receiver):
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    with db.connect(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM items")
        db.run("INSERT INTO items SELECT generate_series(1, 500)")
        db.wait_for_status(500)
        assert old.execute("SELECT count(*) FROM items").fetchone() == (0,)
