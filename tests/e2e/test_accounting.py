"""What has been captured is somewhere, at every moment, and the views say where, while all goes on."""

import collections
import random
import threading

from harness.receiver import after, reply

#: Events until the load ends, each in one of two transactions on the average.
EVENTS = 800

#: All views in one statement, so that they see the same.
SAMPLE = """
    SELECT (SELECT count(*) FROM items), (SELECT array_agg(status) FROM webhook.deliveries), (SELECT count(*) FROM webhook.dead_letters),
           w.pending, s.pending, s.delivered, s.failed
    FROM webhook.webhooks AS w, webhook.stats AS s
"""


def answers():
    """Most are taken, some only later or never."""
    dice = random.Random(1)
    behaviours = [after(0.01, reply(200))] * 8 + [reply(500), reply(400)]

    async def behave(connection):
        return await dice.choice(behaviours)(connection)

    return behave


def in_background(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_what_is_captured_is_accounted_for_at_every_moment(db, receiver):
    """While it is written, sent, refused, tried again and cancelled, and the worker ends and comes again."""
    receiver.default(answers())
    db.hand_over()
    db.run("CREATE TABLE items (id bigserial PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", max_retries=1, retry_backoff_seconds=1)
    ended = threading.Event()

    def write():
        dice = random.Random(2)
        with db.connect() as session:
            for _ in range(EVENTS // 2):
                session.execute("INSERT INTO items SELECT FROM generate_series(1, %s)", [dice.randint(1, 3)])
        ended.set()

    def cancel():
        with db.connect() as session:
            while not ended.is_set():
                session.execute("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status IN ('pending', 'retrying') ORDER BY id DESC LIMIT 2")

    threads = [in_background(write), in_background(cancel)]
    seen, samples = collections.Counter(), 0
    while not ended.is_set():
        captured, statuses, dead_letters, waiting, pending, delivered, failed = db.rows(SAMPLE)[0]
        counts = collections.Counter(statuses)
        told = f"{counts}, captured {captured}"
        assert counts.total() == captured, told
        assert counts["delivered"] == delivered, f"{told}, stats {delivered}"
        assert counts["dead"] == dead_letters == failed, f"{told}, dead letters {dead_letters}, stats {failed}"
        assert counts["pending"] + counts["retrying"] == waiting == pending, f"{told}, webhooks {waiting}, stats {pending}"
        seen.update(counts.keys())
        samples += 1
        if samples % 20 == 0:
            db.judge.run("SELECT pg_terminate_backend(pid) FROM webhook.worker WHERE pid IS NOT NULL")
    for thread in threads:
        thread.join()
    assert samples > 20 and set(seen) == {"pending", "retrying", "delivered", "dead", "cancelled"}
