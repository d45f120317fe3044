-- At most $1 dead letters that somebody wants to be sent again in their places are held there, as if they had not been tried. Returns
-- which ones.
WITH asked AS (
    DELETE FROM webhook.closed AS c
    USING (
        SELECT k.delivery, k.xid
        FROM webhook.closed AS k
        WHERE NOT k.settled AND k.how = 'rearmed'
        ORDER BY k.delivery
        LIMIT $1
        -- nobody waits for a session that is about to cancel one
        FOR UPDATE SKIP LOCKED
    ) AS k
    WHERE c.delivery = k.delivery AND c.xid = k.xid
    RETURNING c.delivery, c.xid
), dead AS (
    DELETE FROM webhook.pending AS p
    USING asked AS c
    WHERE p.id = c.delivery AND p.xid = c.xid AND p.stage + 0 = 2
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, 0 AS attempts, 4::smallint AS stage,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.event_slot, p.keys, p.imported
), put AS MATERIALIZED (
    SELECT dead.webhook, dead.id, webhook.put('pending', dead) FROM dead
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count) SELECT p.webhook, 2, 4, count(*) FROM put AS p GROUP BY p.webhook
)
SELECT c.delivery AS id FROM asked AS c LEFT JOIN put AS p ON p.id = c.delivery
