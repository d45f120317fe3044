-- Writes a delivery of another database into the backlog, unless it is there already, or has ended here. By the id and
-- the transaction together it is the same one. Where its id is that of another one, or
-- could become that, it gets a new one. Those of the ring that have been tried, or are to be, are found without reading it.
-- What has been due is due now: nobody could try since then, so that time does not count for how long retries last.
WITH given AS (
    SELECT
        w.id AS webhook, w.uuid AS webhook_id,
        CASE
            WHEN $9 IS NULL AND $11 IS NOT NULL AND NOT (w.ordered AND $18 IS NOT NULL) THEN greatest($11, s.now)
            ELSE 'infinity'
        END - s.step AS next_at,
        CASE
            WHEN n.id <= $2
                OR EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = $2)
                OR EXISTS (SELECT FROM webhook.logged AS a WHERE a.delivery = $2)
                OR EXISTS (
                    SELECT
                    FROM webhook.cursor AS k
                    JOIN webhook.event AS e ON e.xid >= pg_snapshot_xmin(k.snap) AND e.id = $2
                )
                THEN n.id
            ELSE $2
        END AS id,
        $3 AS xid, $10 AS created_at, $12 + greatest(s.now - $11, interval '0') - s.step AS first_attempt_at, $13 AS attempts,
        (CASE
            WHEN $9 IS NOT NULL OR coalesce($11, 'infinity') = 'infinity' THEN 2
            WHEN w.ordered AND $18 IS NOT NULL THEN 4
            WHEN $13 > 0 THEN 1
            ELSE 0
        END)::smallint AS stage,
        $14 AS status_code, $15 AS duration_us, $16 AS error, $17 AS response_body,
        $5 AS event_type, $6 AS schema_name, $7 AS table_name, $4 AS event_id,
        $8 AS payload, $9 AS failure, CASE WHEN w.ordered THEN $18 END AS keys,
        pg_current_xact_id() AS imported,
        CASE WHEN $9 IS NOT NULL OR coalesce($11, 'infinity') = 'infinity' THEN s.now - s.step END AS dead_at,
        w.ordered
            AND $18 IS NOT NULL
            AND NOT (($9 IS NOT NULL OR coalesce($11, 'infinity') = 'infinity') AND w.on_failure = 'skip') AS in_order
    FROM webhook.webhook AS w
    CROSS JOIN (SELECT k.step * interval '1 microsecond' AS step, clock_timestamp() AS now FROM webhook.cursor AS k) AS s
    CROSS JOIN (SELECT webhook.next_id() AS id OFFSET 0) AS n
    WHERE w.uuid = $1
      AND w.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = $2 AND p.xid = $3)
      AND NOT EXISTS (SELECT FROM webhook.event AS e WHERE e.id = $2 AND e.xid = $3)
      AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = $2 AND c.xid = $3)
      AND NOT EXISTS (SELECT FROM webhook.logged AS a WHERE a.delivery = $2 AND a.xid = $3 AND a.verdict <> 'retry')
), renewed AS (
    -- By this an import that is repeated knows it.
    INSERT INTO webhook.closed (delivery, xid, how, settled)
    SELECT $2, $3, 'renewed', true FROM given WHERE given.id <> $2
    ON CONFLICT DO NOTHING
), put AS MATERIALIZED (
    SELECT given.webhook, given.stage, webhook.put('pending', given, 'in_order') FROM given
), placed AS (
    -- The worker says where.
    INSERT INTO webhook.place (delivery, number, webhook, key)
    SELECT given.id, k.number, given.webhook, k.key
    FROM given
    CROSS JOIN LATERAL (
        SELECT t.number::smallint AS number, t.key FROM unnest(given.keys) WITH ORDINALITY AS t (key, number)
        UNION ALL
        SELECT 0, NULL WHERE given.keys = '{}'
    ) AS k
    WHERE given.in_order
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count) SELECT p.webhook, NULL, p.stage, 1 FROM put AS p
)
SELECT FROM put
