-- The clock has been set by $1 microseconds, or has gone on by $2 while nobody tried: what waits is due after as long as
-- before, and retries have lasted as long as before. Not by UPDATE, which shows bodies to logical decoding.
WITH moved AS (
    DELETE FROM webhook.pending AS p
    WHERE p.next_at < 'infinity'
      AND ($1 <> 0 OR p.first_attempt_at IS NOT NULL)
    RETURNING
        p.webhook, p.next_at + $1 * interval '1 microsecond' AS next_at, p.id, p.xid, p.created_at,
        p.first_attempt_at + ($1 + $2) * interval '1 microsecond' AS first_attempt_at, p.attempts,
        p.status_code, p.duration_us, p.error, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.key
)
SELECT webhook.put('pending', moved) FROM moved
