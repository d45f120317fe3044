-- What may have been under way in batches when an earlier run ended, which has not written down what came of it: each delivery waits
-- in the backlog as one of its batch from $1 on, so that it is sent again as that. Of two that it was put into the later one counts:
-- the one before was never sent. What has an order takes places: all that is before it is finished, or one of its batch.
WITH lost AS (
    SELECT DISTINCT ON (u.id, u.xid) u.id, u.xid, b.id AS batch, u.number
    FROM webhook.batch AS b
    CROSS JOIN LATERAL unnest(b.deliveries, b.xids) WITH ORDINALITY AS u (id, xid, number)
    WHERE NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.batch = b.id)
    ORDER BY u.id, u.xid, b.id DESC
), waited AS (
    DELETE FROM webhook.pending AS p
    USING lost AS l
    -- held: behind others of its batch
    WHERE p.id = l.id AND p.xid = l.xid AND (p.next_at < 'infinity' OR p.stage = 4) AND p.batch IS NULL
    RETURNING
        p.webhook, p.webhook_id, $1 AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts, p.stage AS was,
        (CASE WHEN p.stage <> 4 THEN p.stage WHEN p.attempts > 0 THEN 1 ELSE 0 END)::smallint AS stage, p.status_code,
        p.duration_us, p.error, p.error_class, p.response_body, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload,
        p.failure, p.event_slot, p.keys, p.imported, p.dead_at, l.batch
), again AS MATERIALIZED (
    SELECT waited.webhook, waited.was, waited.stage, webhook.put('pending', waited, 'was') FROM waited
), read AS (
    SELECT
        e.webhook, w.uuid AS webhook_id,
        $1 AS next_at, e.id, e.xid, e.created_at, 0 AS attempts, 0::smallint AS stage, e.event_type, e.schema_name, e.table_name,
        e.event_id, e.payload, e.failure, e.slot AS event_slot, e.keys, l.batch
    FROM lost AS l
    JOIN webhook.event AS e ON e.xid = l.xid AND e.id = l.id
    LEFT JOIN webhook.webhook AS w ON w.id = e.webhook
    -- Before the cursor it is finished, be it that nothing says so.
    WHERE NOT pg_visible_in_snapshot(l.xid, (SELECT k.snap FROM webhook.cursor AS k))
      AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = l.id)
      AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = l.id AND c.xid = l.xid)
      AND NOT EXISTS (
          SELECT FROM webhook.logged AS a WHERE a.delivery = l.id AND a.xid = l.xid AND a.verdict <> 'retry'
      )
), moved AS MATERIALIZED (
    SELECT read.webhook, webhook.put('pending', read) FROM read
), placed AS (
    INSERT INTO webhook.place (delivery, number, webhook, key, position)
    SELECT p.id, k.number, p.webhook, k.key, p.position
    FROM (
        SELECT o.id, o.webhook, o.keys, webhook.next_id() AS position
        FROM (
            SELECT r.id, r.webhook, r.keys
            FROM read AS r
            JOIN lost AS l ON l.id = r.id AND l.xid = r.xid
            WHERE r.keys IS NOT NULL
            ORDER BY l.batch, l.number
        ) AS o
        OFFSET 0
    ) AS p
    CROSS JOIN LATERAL unnest(p.keys) WITH ORDINALITY AS k (key, number)
    ON CONFLICT DO NOTHING
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT m.webhook, NULL, 0, count(*) FROM moved AS m GROUP BY m.webhook
    UNION ALL
    SELECT a.webhook, a.was, a.stage, count(*) FROM again AS a WHERE a.was <> a.stage GROUP BY a.webhook, a.was, a.stage
)
SELECT FROM again
