-- Events of the backlog that have been attempted and failed, at $11. Not by UPDATE, which shows bodies to logical decoding.
WITH attempted AS (
    DELETE FROM webhook.pending AS p
    USING unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS u (
        id, next_at, first_attempt_at, attempts, status_code, duration_us, error, error_class, response_body, batch
    )
    WHERE p.id = u.id
    RETURNING
        p.webhook, p.webhook_id,
        -- One that has been cancelled meanwhile stays where it is.
        CASE WHEN p.stage IN (2, 3) THEN p.next_at ELSE u.next_at END AS next_at,
        p.id, p.xid, p.created_at, u.first_attempt_at, u.attempts, p.stage AS was,
        (
            CASE WHEN p.stage IN (2, 3) THEN p.stage WHEN u.next_at = 'infinity' THEN 2 WHEN u.attempts > 0 THEN 1 ELSE 0 END
        )::smallint AS stage,
        u.status_code, u.duration_us, u.error, u.error_class, u.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.keys, p.imported,
        CASE WHEN p.stage NOT IN (2, 3) AND u.next_at = 'infinity' THEN $11 ELSE p.dead_at END AS dead_at, u.batch
), put AS MATERIALIZED (
    SELECT attempted.webhook, attempted.was, attempted.stage, webhook.put('pending', attempted, 'was') FROM attempted
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, p.was, p.stage, count(*) FROM put AS p WHERE p.was <> p.stage GROUP BY p.webhook, p.was, p.stage
)
SELECT FROM put
