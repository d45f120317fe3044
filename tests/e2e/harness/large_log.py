"""A log of many events, written as the worker would have left it; nobody waits for a million requests."""

#: The newest of them: so many are dead, and so many wait, half of these for another attempt.
DEAD, WAITING = 1_000, 100_000

#: Events of a webhook that has few: the numbers of these, of all.
FEW = (10, 5_000, 90_000)

#: Webhooks that have the others.
WEBHOOKS = 9

#: What is read of it; NEWEST by whoever sees all of it.
NEWEST = "SELECT * FROM webhook.deliveries ORDER BY id DESC LIMIT 50"

#: As whoever may see all of it does, and as the owner of the webhook that has three events.
QUERIES = {
    "the newest": "SELECT * FROM webhook_log()",
    "a page": "SELECT * FROM webhook_log(before => {middle})",
    "those of one": "SELECT * FROM webhook_log('{name}')",
    "those of one, a page": "SELECT * FROM webhook_log('{name}', before => {middle})",
    "an hour": "SELECT * FROM webhook_log('{name}', since => now() - interval '3 days', until => now() - interval '71 hours')",
    **{f"all {status}": f"SELECT * FROM webhook_log(status => '{status}')"
       for status in ("delivered", "dead", "retrying", "pending", "cancelled")},
    **{f"{status} of one": f"SELECT * FROM webhook_log('{{name}}', status => '{status}')"
       for status in ("delivered", "dead", "retrying", "pending", "cancelled")},
    "the view, those of one": "SELECT * FROM webhook.deliveries WHERE webhook_id = '{uuid}' ORDER BY id DESC LIMIT 50",
    "the view, one": "SELECT * FROM webhook.deliveries WHERE id = {middle}",
    "one by event_id": "SELECT * FROM webhook_log(event_id => '{event}')",
    "attempts": "SELECT * FROM webhook.attempts WHERE delivery_id = {middle}",
    "failed attempts": "SELECT * FROM webhook.attempts WHERE webhook_id = '{uuid}' AND verdict <> 'delivered'"
                       " ORDER BY started_at DESC LIMIT 50",
    "dead letters": "SELECT * FROM webhook.dead_letters LIMIT 50",
    "metrics": "SELECT * FROM webhook.metrics",
    "webhooks": "SELECT * FROM webhook.webhooks",
    "stats": "SELECT * FROM webhook.stats",
}

_FILL = """
CREATE TEMP TABLE made AS
SELECT
    g AS number,
    (extract(epoch FROM now() - interval '6 days') * 1e6)::bigint - 1577836800000000 + g::bigint * (6 * 86400000000 / {events}) AS id,
    (100 + g::bigint * 100 / ({events} + 1))::text::xid8 AS xid,
    (g::bigint * 7 / ({events} + 1))::smallint AS slot,
    CASE WHEN g IN {few} THEN (SELECT id FROM webhook.webhook WHERE name = 'few')
        ELSE (SELECT id FROM webhook.webhook WHERE name = 'many' || g % {webhooks}) END AS webhook,
    CASE WHEN g <= {events} - {dead} - {waiting} THEN NULL WHEN g % ({waiting} / {dead} + 1) = 0 THEN 2 ELSE g % 2 END AS stage
FROM generate_series(1, {events}) AS g;
INSERT INTO webhook.event (xid, id, created_at, webhook, slot, event_type, schema_name, table_name, payload)
SELECT m.xid, m.id, '2020-01-01 00:00Z'::timestamptz + m.id * interval '1 microsecond', m.webhook, m.slot, 'INSERT', 'public', 'items',
    format('{{"type": "INSERT", "record": {{"id": %s, "note": "%s"}}}}', m.number, repeat(md5(m.number::text), 7))
FROM made AS m;
INSERT INTO webhook.attempt (delivery, xid, started_at, duration_us, webhook_id, attempt, slot, status_code, verdict, error_class, error, event_slot)
SELECT m.id, m.xid, e.created_at, 5000, w.uuid, 1, m.slot, CASE WHEN m.stage IS NULL THEN 200 ELSE 500 END,
    CASE WHEN m.stage IS NULL THEN 'delivered' WHEN m.stage = 2 THEN 'dead' ELSE 'retry' END,
    CASE WHEN m.stage > 0 THEN 'http_status' END, CASE WHEN m.stage > 0 THEN 'status 500' END, m.slot
FROM made AS m
JOIN webhook.event AS e ON e.slot = m.slot AND e.xid = m.xid AND e.id = m.id
JOIN webhook.webhook AS w ON w.id = m.webhook
WHERE m.stage IS DISTINCT FROM 0
ORDER BY m.id;
INSERT INTO webhook.pending (
    webhook, webhook_id, next_at, id, xid, created_at, first_attempt_at, attempts, stage, status_code, duration_us, error,
    event_type, schema_name, table_name, payload, event_slot, dead_at
)
SELECT m.webhook, w.uuid, CASE WHEN m.stage = 2 THEN 'infinity' ELSE now() + interval '1 day' END, m.id, m.xid, e.created_at,
    CASE WHEN m.stage > 0 THEN e.created_at END, m.stage::boolean::int, m.stage, CASE WHEN m.stage > 0 THEN 500 END,
    CASE WHEN m.stage > 0 THEN 5000 END, CASE WHEN m.stage > 0 THEN 'status 500' END,
    e.event_type, e.schema_name, e.table_name, e.payload, m.slot, CASE WHEN m.stage = 2 THEN now() END
FROM made AS m
JOIN webhook.event AS e ON e.slot = m.slot AND e.xid = m.xid AND e.id = m.id
JOIN webhook.webhook AS w ON w.id = m.webhook
WHERE m.stage IS NOT NULL;
INSERT INTO webhook.movement (webhook, stage, count)
SELECT m.webhook, m.stage, count(*) FROM made AS m WHERE m.stage IS NOT NULL GROUP BY m.webhook, m.stage;
UPDATE webhook.cursor SET snap = pg_current_snapshot();
DROP TABLE made;
"""


def fill(judge, events):
    """Writes `events` of the webhooks few and many0 to many8, which are there, into the ring, the log and the backlog. As a superuser,
    while no worker is at it."""
    # The transactions that have written them are over.
    while int(judge.value("SELECT pg_snapshot_xmin(pg_current_snapshot())")) <= 200:
        judge.value("SELECT pg_current_xact_id()")
    judge.run(_FILL.format(events=events, dead=DEAD, waiting=WAITING, few=FEW, webhooks=WEBHOOKS))
