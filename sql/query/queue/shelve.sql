-- Of deliveries $1, whose events transactions $2 wrote, those in the backlog are never due again. Not by UPDATE, which
-- shows bodies to logical decoding.
WITH shelved AS (
    DELETE FROM webhook.pending AS p
    USING unnest($1, $2) AS u (id, xid)
    WHERE p.id = u.id AND p.xid = u.xid AND p.stage < 3
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        3::smallint AS stage,
        p.status_code, p.duration_us, p.error, p.error_class, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.key, p.imported,
        p.dead_at
)
SELECT webhook.put('pending', shelved) FROM shelved
