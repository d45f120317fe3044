-- Deliveries $1, and those of batches $2, are sent no more as they were sent together: those of them that have others before them in their
-- order are held, and the others due as they were. Not by UPDATE, which shows bodies to logical decoding.
WITH sought AS (
    SELECT u.id FROM unnest($1) AS u (id)
    UNION
    SELECT p.id FROM unnest($2) AS b (id) JOIN webhook.pending AS p ON p.batch = b.id
), apart AS (
    DELETE FROM webhook.pending AS p
    USING (
        SELECT s.id, EXISTS (SELECT FROM webhook.behind AS b WHERE b.delivery = s.id) AS is_behind FROM sought AS s
    ) AS u
    WHERE p.id = u.id AND p.next_at < 'infinity' AND (u.is_behind OR p.batch IS NOT NULL)
    RETURNING
        p.webhook, p.webhook_id, CASE WHEN u.is_behind THEN 'infinity' ELSE p.next_at END AS next_at,
        p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts, p.stage AS was,
        (CASE WHEN u.is_behind THEN 4 ELSE p.stage END)::smallint AS stage,
        p.status_code, p.duration_us, p.error, p.error_class, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.keys, p.imported,
        p.dead_at
), put AS MATERIALIZED (
    SELECT apart.webhook, apart.was, apart.stage, webhook.put('pending', apart, 'was') FROM apart
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, p.was, p.stage, count(*) FROM put AS p WHERE p.was <> p.stage GROUP BY p.webhook, p.was, p.stage
)
SELECT FROM put
