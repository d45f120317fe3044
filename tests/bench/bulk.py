"""Jobs over a million deliveries, with ten million events in the log. By name only, because it takes long: make bench ONLY=jobs_at_size."""

import statistics
import time

from figures import Row
from harness.cluster import Database
from harness.large_log import WEBHOOKS, fill
from harness.waiting import wait_until

#: Seconds that a job may take.
TARGET = 60

#: What others may be delayed by, as a multiple and in milliseconds.
OTHERS = (1.25, 20)

_BULK = """
CREATE TEMP TABLE made AS
SELECT
    g AS number, (SELECT max(id) FROM webhook.event) + {offset} + g AS id, '199'::xid8 AS xid, r.slot, w.id AS webhook, w.uuid
FROM generate_series(1, {count}) AS g
CROSS JOIN webhook.ring AS r
JOIN webhook.webhook AS w ON w.name = '{name}';
INSERT INTO webhook.event (xid, id, created_at, webhook, slot, event_type, schema_name, table_name, payload)
SELECT m.xid, m.id, now(), m.webhook, m.slot, 'INSERT', 'public', 'items',
    format('{{"type": "INSERT", "record": {{"id": %s, "note": "%s"}}}}', m.number, repeat(md5(m.number::text), 7))
FROM made AS m;
"""

_WAITING = """
INSERT INTO webhook.pending (
    webhook, webhook_id, next_at, id, xid, created_at, attempts, stage, event_type, schema_name, table_name, payload, event_slot, dead_at
)
SELECT m.webhook, m.uuid, {next_at}, m.id, m.xid, e.created_at, 0, {stage}, e.event_type, e.schema_name, e.table_name, e.payload, m.slot, {dead_at}
FROM made AS m
JOIN webhook.event AS e ON e.slot = m.slot AND e.xid = m.xid AND e.id = m.id;
INSERT INTO webhook.movement (webhook, stage, count) SELECT m.webhook, {stage}, count(*) FROM made AS m GROUP BY m.webhook;
"""

_DONE = """
INSERT INTO webhook.attempt (delivery, xid, started_at, duration_us, webhook_id, attempt, slot, status_code, verdict, response_body, event_slot)
SELECT m.id, m.xid, now(), 5000, m.uuid, 1, m.slot, 200, 'delivered', 'ok', m.slot FROM made AS m;
"""

_END = "UPDATE webhook.cursor SET snap = pg_current_snapshot(); DROP TABLE made;"

#: What is done with a million of a webhook, which is called so, and how these are made.
JOBS = {
    "cancel": ("webhook_cancel_all('cancel')", _WAITING.format(next_at="now() + interval '1 day'", stage=0, dead_at="NULL")),
    "replay": ("webhook_replay_all('replay')", _WAITING.format(next_at="'infinity'", stage=2, dead_at="now()")),
    "erase": ("webhook_erase('erase')", _DONE),
}


def latencies(db, nginx, going_on):
    """How long an event of another webhook takes from its statement to its attempt, in milliseconds, as long as something goes on."""
    took = []
    uuid = db.value("SELECT uuid FROM webhook.webhook WHERE name = 'other'")
    # Among what is about as new as that, so that who asks takes nothing from those who are measured; ids count microseconds, and that of
    # the event is a little older than the statement's end.
    newest = ("SELECT extract(epoch FROM max(started_at)) FROM webhook.attempt WHERE webhook_id = %s AND verdict IN ('delivered', 'failed')"
              " AND delivery >= (extract(epoch FROM to_timestamp(%s) - timestamptz '2020-01-01 00:00Z') * 1000000)::bigint - 1000000")
    while going_on() or len(took) < 100:
        began = db.value("SELECT webhook_emit('other', '1') * 0 + extract(epoch FROM clock_timestamp())")
        sent = lambda: db.value(newest, uuid, began) or 0
        wait_until(lambda: sent() > began, "the event", interval=0.002)
        took.append(float(sent() - began) * 1000)
        time.sleep(0.05)
    return sorted(took)


def jobs_at_size(server, nginx, quick):
    events = 500_000 if quick else 10_000_000
    count = events // 10
    server.reload(pg_webhook__enabled="off")
    db = Database(server, "jobs")
    for name in ("few", *(f"many{number}" for number in range(WEBHOOKS)), *JOBS, "other"):
        types = "{other}" if name == "other" else "{tick}"
        db.run("SELECT webhook_create(%s, %s, events => %s::text[])", name, nginx.url(), types)
    fill(db.judge, events)
    for at, (name, (_, rows)) in enumerate(JOBS.items()):
        db.judge.run(_BULK.format(name=name, count=count, offset=at * count) + rows + _END)
    db.run("VACUUM ANALYZE")
    db.run("SELECT webhook_pause(n) FROM unnest(ARRAY['cancel', 'replay']) AS n")
    server.reload(pg_webhook__enabled="on")
    rows = []
    quiet = latencies(db, nginx, lambda: False)
    p99 = lambda took: took[len(took) * 99 // 100]
    for name, (call, _) in JOBS.items():
        job = db.value(f"SELECT {call}")
        beside = latencies(db, nginx, lambda: db.value("SELECT ended_at IS NULL FROM webhook.jobs WHERE id = %s", job))
        [(state, done, seconds)] = db.rows(
            "SELECT state, done, extract(epoch FROM ended_at - asked_at) FROM webhook.jobs WHERE id = %s", job)
        assert (state, done) == ("done", count), (state, done)
        rows.append(Row(f"{name} {count} of {events}", float(seconds), "s", TARGET * count / 1_000_000, "most"))
        rows.append(Row(
            f"{name} {count}: another endpoint, p99", p99(beside), "ms", OTHERS[0] * p99(quiet) + OTHERS[1], "most",
            f"before {p99(quiet):.1f} ms, median {statistics.median(beside):.1f} and {statistics.median(quiet):.1f} ms"))
    for call, status in (("webhook_replay", "delivered"), ("webhook_cancel", "pending")):
        took = []
        for (number,) in db.rows("SELECT id FROM webhook_log('many0', %s)", status):
            began = time.perf_counter()
            db.value(f"SELECT {call}(%s)", number)
            took.append((time.perf_counter() - began) * 1000)
        rows.append(Row(f"{call} of one, of {events}", statistics.median(took), "ms", 2, "most", f"the slowest {max(took):.1f} ms"))
    db.drop()
    return rows


OWN = [jobs_at_size]
