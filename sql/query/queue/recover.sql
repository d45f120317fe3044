-- What may have been under way in batches when an earlier run ended, which has not written down what came of it: each delivery waits
-- in the backlog as one of its batch from $1 on, so that it is sent again as that. Of two that it was put into the later one counts:
-- the one before was never sent.
WITH lost AS (
    SELECT DISTINCT ON (u.id, u.xid) u.id, u.xid, b.id AS batch
    FROM webhook.batch AS b
    CROSS JOIN LATERAL unnest(b.deliveries, b.xids) AS u (id, xid)
    WHERE NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.batch = b.id)
    ORDER BY u.id, u.xid, b.id DESC
), waited AS (
    DELETE FROM webhook.pending AS p
    USING lost AS l
    WHERE p.id = l.id AND p.xid = l.xid AND p.next_at < 'infinity' AND p.batch IS NULL
    RETURNING
        p.webhook, p.webhook_id, $1 AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts, p.stage, p.status_code,
        p.duration_us, p.error, p.error_class, p.response_body, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload,
        p.failure, p.event_slot, p.keys, p.imported, p.dead_at, l.batch
), again AS MATERIALIZED (
    SELECT webhook.put('pending', waited) FROM waited
), read AS (
    SELECT
        e.webhook, (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = e.webhook) AS webhook_id,
        $1 AS next_at, e.id, e.xid, e.created_at, 0 AS attempts, 0::smallint AS stage, e.event_type, e.schema_name, e.table_name,
        e.event_id, e.payload, e.failure, e.slot AS event_slot, e.keys, l.batch
    FROM lost AS l
    JOIN webhook.event AS e ON e.xid = l.xid AND e.id = l.id
    -- Before the cursor it is finished, be it that nothing says so.
    WHERE NOT pg_visible_in_snapshot(l.xid, (SELECT k.snap FROM webhook.cursor AS k))
      AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = l.id)
      AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = l.id AND c.xid = l.xid)
      AND NOT EXISTS (
          SELECT FROM webhook.logged AS a WHERE a.delivery = l.id AND a.xid = l.xid AND a.verdict <> 'retry'
      )
), moved AS MATERIALIZED (
    SELECT read.webhook, webhook.put('pending', read) FROM read
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT m.webhook, NULL, 0, count(*) FROM moved AS m GROUP BY m.webhook
)
SELECT FROM again
