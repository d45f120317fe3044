-- Makes delivery $1 a dead letter, wherever it is.
WITH waiting AS (
    UPDATE webhook.pending SET next_at = 'infinity', error = $2 WHERE id = $1 RETURNING id
)
INSERT INTO webhook.pending (
    webhook, next_at, id, xid, created_at, attempts, status_code, error,
    event_type, schema_name, table_name, event_id, payload, failure, event_slot, key
)
SELECT
    e.webhook, 'infinity', e.id, e.xid, e.created_at, 0, 0, $2,
    e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure, e.slot, e.key
FROM webhook.event AS e
WHERE e.id = $1 AND NOT EXISTS (SELECT FROM waiting)
ON CONFLICT (id) DO NOTHING
