-- The next $3 deliveries of webhook $2, unless that has been deleted, behind id $4 that the log has as delivered, fewer where their
-- bodies are more than $5 bytes: those that job $1 covers are written into the ring once more, as replay.sql does, unless the ring has
-- forgotten their events. $7 and what it returns as in replay_backlog_page.sql. By rows, so that no index is of use but that of
-- webhooks.
WITH page AS (
    SELECT p.id, p.xid, p.slot, p.webhook, p.bytes
    FROM (
        SELECT
            q.id, q.xid, e.slot, e.webhook, octet_length(e.payload) AS bytes,
            -- one that is not there has no bytes
            coalesce(sum(octet_length(e.payload)) OVER (ORDER BY q.id), 0) - coalesce(octet_length(e.payload), 0) AS before
        FROM (
            SELECT n.delivery AS id, n.xid, n.event_slot, n.verdict
            FROM webhook.attempt AS n
            WHERE (n.webhook_id, n.delivery) > (
                    (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2 AND w.deleted_at IS NULL), $4
                )
              AND (n.webhook_id, n.delivery) < (
                    (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2 AND w.deleted_at IS NULL),
                    (SELECT j."end" FROM webhook.job AS j WHERE j.id = $1)
                )
              AND n.verdict IN ('delivered', 'failed')
              AND n.webhook_id IS NOT NULL
            ORDER BY n.webhook_id, n.delivery
            LIMIT $3
        ) AS q
        LEFT JOIN LATERAL (
            SELECT v.slot, v.webhook, v.payload
            FROM webhook.event AS v
            WHERE v.slot = q.event_slot AND v.xid = q.xid AND v.id = q.id AND v.event_type <> 'TEST' AND q.verdict = 'delivered'
        ) AS e ON true
    ) AS p
    WHERE p.before < $5
), covered AS (
    SELECT p.*
    FROM page AS p
    CROSS JOIN webhook.job AS j
    WHERE j.id = $1
      AND p.webhook = $2
      -- one that has been erased
      AND p.bytes > 0
      AND (pg_visible_in_snapshot(p.xid, j.seen) OR p.xid = j.caller)
), replay AS (
    SELECT
        pg_current_xact_id() AS xid, webhook.next_id() AS id, clock_timestamp() AS created_at, o.webhook, r.slot,
        o.event_type, o.schema_name, o.table_name, coalesce(o.event_id, format('evt_%s_%s', i.id, o.id)) AS event_id, o.payload
    FROM (
        SELECT e.id, e.webhook, e.event_type, e.schema_name, e.table_name, e.event_id, e.payload
        FROM covered AS c
        JOIN webhook.event AS e ON e.slot = c.slot AND e.xid = c.xid AND e.id = c.id
        WHERE $7 = 'do'
        ORDER BY c.id
    ) AS o
    CROSS JOIN webhook.ring AS r
    CROSS JOIN webhook.installation AS i
), put AS MATERIALIZED (
    SELECT webhook.put('event_' || replay.slot, replay), octet_length(replay.payload) AS bytes FROM replay
), found AS (
    SELECT c.bytes FROM covered AS c WHERE $7 = 'look'
    UNION ALL
    SELECT p.bytes FROM put AS p
)
SELECT
    (SELECT count(*) FROM page) AS seen_rows,
    NULL::xid8 AS place_xid,
    (SELECT max(p.id) FROM page AS p) AS place,
    NULL::integer AS wanted,
    (SELECT count(*) FROM found) AS done,
    coalesce((SELECT sum(f.bytes) FROM found AS f), 0)::bigint AS bytes,
    (SELECT count(*) FROM covered AS c WHERE $7 = 'leave out') AS skipped
