-- The next $3 events of the slots that hold what has been delivered and is not in the log, behind transaction $6 and id $4, fewer where
-- their bodies are more than $5 bytes: those of webhooks $7 that job $1 covers, and that are such, are to be replayed, up to the first
-- one that is of none of webhooks $2. Returns which webhook that is of, and else what replay_backlog_page.sql does.
WITH page AS (
    SELECT p.*, row_number() OVER (ORDER BY p.xid, p.id) AS number
    FROM (
        SELECT
            q.id, q.xid, q.slot, q.webhook, q.event_type, q.failure, octet_length(q.payload) AS bytes,
            sum(octet_length(q.payload)) OVER (ORDER BY q.xid, q.id) - octet_length(q.payload) AS before
        FROM (
            SELECT e.id, e.xid, e.slot, e.webhook, e.event_type, e.failure, e.payload
            FROM webhook.event AS e
            WHERE (SELECT r.unlogged <> '{}' FROM webhook.ring AS r)
              AND (e.xid, e.id) > ($6, $4)
              AND e.xid < (
                  SELECT greatest(pg_snapshot_xmax(j.seen), (j.caller::text::bigint + 1)::text::xid8)
                  FROM webhook.job AS j
                  WHERE j.id = $1
              )
              AND e.slot = ANY ((SELECT r.unlogged FROM webhook.ring AS r)::smallint[])
            ORDER BY e.xid, e.id
            LIMIT $3
        ) AS q
    ) AS p
    WHERE p.before < $5
), covered AS (
    SELECT p.*
    FROM page AS p
    CROSS JOIN webhook.job AS j
    JOIN webhook.webhook AS w ON w.id = p.webhook AND w.deleted_at IS NULL
    WHERE j.id = $1
      AND p.webhook = ANY ($7)
      AND p.id >= j.first
      AND p.id < j."end"
      AND (pg_visible_in_snapshot(p.xid, j.seen) OR p.xid = j.caller)
      AND p.event_type <> 'TEST'
      AND p.failure IS NULL
      -- one that has been erased
      AND p.bytes > 0
      AND pg_visible_in_snapshot(p.xid, (SELECT k.snap FROM webhook.cursor AS k))
      AND NOT EXISTS (SELECT FROM webhook.pending AS b WHERE b.id = p.id AND b.xid = p.xid)
      AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid AND c.how = 'renewed')
      AND NOT EXISTS (
          SELECT FROM webhook.attempt AS a WHERE a.delivery = p.id AND a.xid = p.xid AND a.verdict IN ('delivered', 'failed')
      )
), wanted AS (
    SELECT c.webhook, c.number FROM covered AS c WHERE c.webhook <> ALL ($2) ORDER BY c.number LIMIT 1
), passed AS (
    SELECT p.id, p.xid, p.number FROM page AS p WHERE p.number < coalesce((SELECT w.number FROM wanted AS w), 9223372036854775807)
)
SELECT
    (SELECT count(*) FROM passed) AS seen_rows,
    l.xid AS place_xid, l.id AS place,
    (SELECT w.webhook FROM wanted AS w) AS wanted,
    0::bigint AS skipped,
    0::bigint AS rearmed,
    t.id, t.xid, t.slot, t.bytes
FROM (SELECT true) AS one
LEFT JOIN (SELECT p.xid, p.id FROM passed AS p ORDER BY p.number DESC LIMIT 1) AS l ON true
LEFT JOIN (
    SELECT c.* FROM covered AS c WHERE c.number < coalesce((SELECT w.number FROM wanted AS w), 9223372036854775807)
) AS t ON true
ORDER BY t.number
