-- The next $3 deliveries in the backlog of webhook $2 behind id $4, fewer where their bodies are more than $5 bytes: those that job $1
-- covers, and whose bodies its path finds something in, are taken out. Not by UPDATE, which shows bodies to logical decoding. Returns
-- how many it has looked at, the last of them, and how many bodies cannot be looked into; and for each that it has taken out, if there
-- is one, which one it is, and what is to be there: without body and answer, and never due again, which it is at $6.
WITH page AS (
    SELECT p.id, p.xid, p.written, p.stage, p.payload
    FROM (
        SELECT
            q.id, q.xid, coalesce(q.imported, q.xid) AS written, q.stage, q.payload,
            sum(octet_length(q.payload)) OVER (ORDER BY q.id) - octet_length(q.payload) AS before
        FROM (
            SELECT r.id, r.xid, r.imported, r.stage, r.payload
            FROM webhook.pending AS r
            -- By rows, so that no index is of use but that of webhooks.
            WHERE (r.webhook_id, r.id) > ((SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2), $4)
              AND (r.webhook_id, r.id) < (
                    (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2),
                    (SELECT j."end" FROM webhook.job AS j WHERE j.id = $1)
                )
            ORDER BY r.webhook_id, r.id
            LIMIT $3
        ) AS q
    ) AS p
    WHERE p.before < $5
), judged AS MATERIALIZED (
    SELECT p.id, p.xid, p.stage, CASE WHEN k.path IS NULL OR p.payload = '' THEN true ELSE webhook.finds(p.payload, k.path) END AS found
    FROM page AS p
    CROSS JOIN webhook.job AS j
    LEFT JOIN webhook.job_path AS k ON k.job = j.id
    WHERE j.id = $1
      AND (pg_visible_in_snapshot(p.written, j.seen) OR p.written = j.caller)
      -- one that has been erased, but for one that was in the ring when it was
      AND (p.payload <> '' OR p.stage <> 3)
), erased AS (
    DELETE FROM webhook.pending AS p
    USING judged AS u
    WHERE u.found AND p.id = u.id AND p.xid = u.xid
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        p.stage AS was, 3::smallint AS stage,
        p.status_code, p.duration_us, p.error_class,
        p.event_type, p.schema_name, p.table_name, p.event_id, '' AS payload, p.event_slot, p.keys, p.imported,
        coalesce(CASE WHEN p.stage = 3 THEN p.dead_at END, $6) AS dead_at
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT s.webhook, s.was, s.stage, count(*) FROM erased AS s WHERE s.was <> s.stage GROUP BY s.webhook, s.was, s.stage
)
SELECT
    s.seen_rows, s.place, (SELECT count(*) FROM judged AS u WHERE u.found IS NULL) AS skipped,
    t.id, t.xid, t.event_slot AS slot,
    'webhook.pending'::regclass::oid AS relation, NULL::tid AS position, t AS row
FROM (SELECT count(*) AS seen_rows, max(p.id) AS place FROM page AS p) AS s
LEFT JOIN erased AS t ON true
