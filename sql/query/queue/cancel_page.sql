-- The next $3 deliveries in the backlog of webhook $2 behind id $4, fewer where their bodies are more than $5 bytes: those that job
-- $1 covers, at stages $6, are taken out. Not by UPDATE, which shows bodies to logical decoding. Those that somebody has cancelled are
-- left to what settles them. Returns how many it has looked at, the last of them, and for each that it has taken out, if there is one,
-- what is to be there: never due again, which it is at $7.
WITH page AS (
    SELECT p.id, p.xid, p.stage, coalesce(p.imported, p.xid) AS written
    FROM (
        SELECT q.*, sum(octet_length(q.payload)) OVER (ORDER BY q.id) - octet_length(q.payload) AS before
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
), covered AS (
    SELECT p.id, p.xid, p.stage
    FROM page AS p
    CROSS JOIN webhook.job AS j
    WHERE j.id = $1
      AND p.stage = ANY ($6)
      AND (pg_visible_in_snapshot(p.written, j.seen) OR p.written = j.caller)
      AND (SELECT true FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid AND c.how <> 'rearmed') IS NULL
), shelved AS (
    DELETE FROM webhook.pending AS p
    USING covered AS u
    WHERE p.id = u.id AND p.xid = u.xid
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        p.stage AS was, 3::smallint AS stage,
        p.status_code, p.duration_us, p.error, p.error_class, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.keys, p.imported,
        $7 AS dead_at
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT s.webhook, s.was, s.stage, count(*) FROM shelved AS s WHERE s.was <> s.stage GROUP BY s.webhook, s.was, s.stage
)
SELECT
    s.seen_rows, s.place, 0::bigint AS skipped,
    'webhook.pending'::regclass::oid AS relation, NULL::tid AS position, t AS row
FROM (SELECT count(*) AS seen_rows, max(p.id) AS place FROM page AS p) AS s
LEFT JOIN shelved AS t ON true
