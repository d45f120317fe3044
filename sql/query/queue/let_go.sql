-- Of deliveries $1 those that are held and have nothing before them any more are due, at $2. Returns of which webhooks. Not by UPDATE,
-- which shows bodies to logical decoding. Stages are asked for in a way that no index is of use for but that of ids.
WITH free AS (
    SELECT u.id
    FROM unnest($1) AS u (id)
    WHERE NOT EXISTS (SELECT FROM webhook.behind AS b WHERE b.delivery = u.id)
), held AS (
    DELETE FROM webhook.pending AS p
    USING free AS f
    WHERE p.id = f.id AND p.stage + 0 = 4
    RETURNING
        p.webhook, p.webhook_id, $2 AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        (CASE WHEN p.attempts > 0 THEN 1 ELSE 0 END)::smallint AS stage,
        p.status_code, p.duration_us, p.error, p.error_class, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.keys, p.imported,
        p.dead_at
), put AS MATERIALIZED (
    SELECT held.webhook, held.stage, webhook.put('pending', held) FROM held
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, 4, p.stage, count(*) FROM put AS p GROUP BY p.webhook, p.stage
)
SELECT DISTINCT p.webhook FROM put AS p
