-- Moves events of the ring to the slow lane, unless the id is there already: see taken.sql.
INSERT INTO webhook.pending (
    webhook, next_at, id, xid, created_at, first_attempt_at, attempts,
    status_code, duration_us, error, response_body,
    event_type, schema_name, table_name, event_id, payload, failure, event_slot, key
)
SELECT
    e.webhook, u.next_at, e.id, e.xid, e.created_at, u.first_attempt_at, u.attempts,
    u.status_code, u.duration_us, u.error, u.response_body,
    e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure, e.slot, e.key
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS u (
    id, next_at, first_attempt_at, attempts, status_code, duration_us, error, response_body, slot, xid
)
JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id = u.id
ON CONFLICT (id) DO NOTHING
