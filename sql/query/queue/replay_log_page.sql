-- The next $3 deliveries of webhook $2, unless that has been deleted, behind id $4 that the log has as delivered, fewer where their
-- bodies are more than $5 bytes: those that job $1 covers are to be replayed, unless the ring has forgotten their events; none where
-- $6 is 'leave out'. Returns what replay_backlog_page.sql does. By rows, so that no index is of use but that of webhooks.
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
)
SELECT
    s.seen_rows, NULL::xid8 AS place_xid, s.place, NULL::integer AS wanted,
    (SELECT count(*) FROM covered AS c WHERE $6 = 'leave out') AS skipped,
    0::bigint AS rearmed,
    t.id, t.xid, t.slot, t.bytes
FROM (SELECT count(*) AS seen_rows, max(p.id) AS place FROM page AS p) AS s
LEFT JOIN covered AS t ON $6 <> 'leave out'
ORDER BY t.id
