-- Makes delivery $1 a dead letter, at $3, wherever it is. Not by UPDATE, which shows bodies to logical decoding.
WITH waiting AS (
    DELETE FROM webhook.pending AS p WHERE p.id = $1
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        p.stage AS was, greatest(p.stage, 2::smallint) AS stage,
        p.status_code, p.duration_us, $2 AS error, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.keys, p.imported,
        coalesce(p.dead_at, $3) AS dead_at
), fresh AS (
    SELECT
        e.webhook, (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = e.webhook) AS webhook_id,
        'infinity'::timestamptz AS next_at, e.id, e.xid, e.created_at, 0 AS attempts, 2::smallint AS stage,
        0::smallint AS status_code, $2 AS error,
        e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure, e.slot AS event_slot, e.keys,
        $3 AS dead_at
    FROM webhook.event AS e
    WHERE e.id = $1 AND NOT EXISTS (SELECT FROM waiting)
    LIMIT 1
), put AS MATERIALIZED (
    SELECT waiting.webhook, waiting.was, waiting.stage, webhook.put('pending', waiting, 'was') FROM waiting
    UNION ALL
    SELECT fresh.webhook, NULL, fresh.stage, webhook.put('pending', fresh) FROM fresh
)
INSERT INTO webhook.movement (webhook, was, stage, count)
SELECT p.webhook, p.was, p.stage, 1 FROM put AS p WHERE p.was IS DISTINCT FROM p.stage
