-- The next $3 deliveries in the backlog of webhook $2, unless that has been deleted, behind id $4, fewer where their bodies are more
-- than $5 bytes: of those that job $1 covers, with status $6 ('dead' or 'cancelled'), dead letters are closed, because each is replayed
-- once; those that have a place in an order are to be sent again there, which is counted. Not those whose transform has failed;
-- none where $7 is 'leave out' or 'look'. Returns how many it has looked at, the last of them, and how many it has left out; and which ones
-- are to be replayed, if any are, or with 'look' would be, each with the bytes of its body.
WITH page AS (
    SELECT p.id, p.xid, p.stage, p.written, p.failed, p.bytes
    FROM (
        SELECT
            q.id, q.xid, q.stage, coalesce(q.imported, q.xid) AS written, q.failure IS NOT NULL AS failed,
            octet_length(q.payload) AS bytes,
            sum(octet_length(q.payload)) OVER (ORDER BY q.id) - octet_length(q.payload) AS before
        FROM (
            SELECT r.id, r.xid, r.imported, r.stage, r.failure, r.payload
            FROM webhook.pending AS r
            -- By rows, so that no index is of use but that of webhooks.
            WHERE (r.webhook_id, r.id) > ((SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2 AND w.deleted_at IS NULL), $4)
              AND (r.webhook_id, r.id) < (
                    (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2 AND w.deleted_at IS NULL),
                    (SELECT j."end" FROM webhook.job AS j WHERE j.id = $1)
                )
            ORDER BY r.webhook_id, r.id
            LIMIT $3
        ) AS q
    ) AS p
    WHERE p.before < $5
), covered AS (
    SELECT
        p.id, p.xid, p.bytes, p.failed OR $7 = 'leave out' AS left_out,
        -- It is sent again in its place.
        p.stage = 2 AND EXISTS (SELECT FROM webhook.place AS o WHERE o.delivery = p.id) AS placed
    FROM page AS p
    CROSS JOIN webhook.job AS j
    WHERE j.id = $1
      AND (pg_visible_in_snapshot(p.written, j.seen) OR p.written = j.caller)
      -- one that has been erased
      AND p.bytes > 0
      AND CASE
          WHEN $6 = 'dead' THEN
              p.stage = 2 AND (SELECT true FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid) IS NULL
          ELSE
              p.stage = 3 OR (SELECT c.how FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid) = 'cancelled'
      END
), closed AS (
    -- The time is asked for once: the column's default is a function, which takes longer than the row.
    INSERT INTO webhook.closed (delivery, xid, closed_at, how, settled)
    SELECT c.id, c.xid, (SELECT webhook.queue_time()), CASE WHEN c.placed THEN 'rearmed' ELSE 'replayed' END, NOT c.placed
    FROM covered AS c
    WHERE $6 = 'dead' AND $7 = 'do' AND NOT c.left_out
    ON CONFLICT DO NOTHING
    RETURNING delivery, xid, how
), chosen AS (
    SELECT c.id, c.xid, c.bytes
    FROM covered AS c
    WHERE NOT c.left_out
      AND ($6 <> 'dead' OR $7 <> 'do' OR EXISTS (SELECT FROM closed AS k WHERE k.delivery = c.id AND k.xid = c.xid AND k.how = 'replayed'))
)
SELECT
    s.seen_rows, NULL::xid8 AS place_xid, s.place, NULL::integer AS wanted,
    (SELECT count(*) FROM covered AS c WHERE c.left_out) AS skipped,
    (SELECT count(*) FROM closed AS c WHERE c.how = 'rearmed') AS rearmed,
    t.id, t.xid, NULL::smallint AS slot, t.bytes
FROM (SELECT count(*) AS seen_rows, max(p.id) AS place FROM page AS p) AS s
LEFT JOIN chosen AS t ON true
ORDER BY t.id
