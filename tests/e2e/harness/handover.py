"""Writers of a table that go on while one system hands it over to another."""

import collections
import contextlib
import itertools
import threading
import time

WRITERS = 4
# So long they write before and after what happens in between.
AROUND = 0.5


@contextlib.contextmanager
def writing(db, table):
    """Has sessions insert rows with growing ids into `table` until the block is over; yields their ids, which are
    complete then."""
    ids, over = itertools.count(1), threading.Event()
    written, failures = [], []

    def write(session, rows):
        try:
            while not over.is_set():
                # `next` of a counter gives no number twice, whoever asks.
                numbers = [next(ids) for _ in range(rows)]
                with session.transaction():
                    for number in numbers:
                        session.execute(f"INSERT INTO {table} (id) VALUES (%s)", [number])
                written.extend(numbers)
        except Exception as error:
            failures.append(error)
        finally:
            session.close()

    threads = [threading.Thread(target=write, args=(db.connect(), 1 + n)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(AROUND)
        yield written
        time.sleep(AROUND)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def each_once(before, after, written):
    """Every row is with exactly one side, and neither side is empty."""
    assert before and after, f"{len(before)} rows before, {len(after)} after"
    counts = collections.Counter(before + after)
    assert not (lost := set(written) - set(counts)), f"lost: {sorted(lost)}"
    assert not (twice := [row for row, count in counts.items() if count > 1]), f"twice: {sorted(twice)}"
    assert set(counts) == set(written), "rows that nobody has written"
