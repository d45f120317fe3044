-- Moves events of the ring to the backlog, at $13, unless the id is there already: see taken.sql.
WITH moved AS (
    SELECT
        e.webhook, (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = e.webhook) AS webhook_id,
        u.next_at, e.id, e.xid, e.created_at, u.first_attempt_at, u.attempts,
        (CASE WHEN u.next_at = 'infinity' THEN 2 WHEN u.attempts > 0 THEN 1 ELSE 0 END)::smallint AS stage,
        u.status_code, u.duration_us, u.error, u.error_class, u.response_body,
        e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure, e.slot AS event_slot, e.keys,
        CASE WHEN u.next_at = 'infinity' THEN $13 END AS dead_at, u.batch
    FROM (
        SELECT DISTINCT ON (g.id) g.*
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS g (
            id, next_at, first_attempt_at, attempts, status_code, duration_us, error, error_class, response_body, batch, slot, xid
        )
    ) AS u
    JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id = u.id
    WHERE NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = u.id)
), put AS MATERIALIZED (
    SELECT moved.webhook, moved.stage, webhook.put('pending', moved) FROM moved
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, NULL, p.stage, count(*) FROM put AS p GROUP BY p.webhook, p.stage
)
SELECT FROM put
