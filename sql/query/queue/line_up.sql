-- Events of the ring, in slots $1, of transactions $2, with ids $3, come into the backlog, unless the id is there already: due at $4 where
-- nothing is before them in their order, or else held. Not those that are dead letters. Returns how many, and of which webhooks some are
-- due.
WITH lined AS (
    SELECT
        e.webhook, w.uuid AS webhook_id,
        CASE WHEN b.is_behind THEN 'infinity' ELSE $4 END AS next_at,
        e.id, e.xid, e.created_at, 0 AS attempts, (CASE WHEN b.is_behind THEN 4 ELSE 0 END)::smallint AS stage,
        e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure, e.slot AS event_slot, e.keys
    FROM unnest($1, $2, $3) AS u (slot, xid, id)
    JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id = u.id
    LEFT JOIN webhook.webhook AS w ON w.id = e.webhook
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM webhook.behind AS b WHERE b.delivery = e.id) AS is_behind OFFSET 0) AS b
    WHERE e.failure IS NULL AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = u.id)
), put AS MATERIALIZED (
    SELECT lined.webhook, lined.stage, webhook.put('pending', lined) FROM lined
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, NULL, p.stage, count(*) FROM put AS p GROUP BY p.webhook, p.stage
)
SELECT p.webhook, count(*) AS count, bool_or(p.stage = 0) AS due FROM put AS p GROUP BY p.webhook
