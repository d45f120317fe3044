-- The next $3 deliveries in the backlog of webhook $2 behind id $4, fewer where their bodies are more than $5 bytes: those that job $1
-- covers, and whose bodies its path finds something in, are never due again, which they are at $6, and keep neither body nor answer. Not
-- by UPDATE, which shows bodies to logical decoding. Returns how many it has looked at, the last of them, how many it has erased, how
-- many bodies cannot be looked into, and which ones it has erased.
WITH page AS (
    SELECT p.id, p.xid, p.written, p.stage, p.payload
    FROM (
        SELECT
            q.id, q.xid, coalesce(q.imported, q.xid) AS written, q.stage, q.payload,
            sum(octet_length(q.payload)) OVER (ORDER BY q.id) - octet_length(q.payload) AS before
        FROM (
            SELECT r.id, r.xid, r.imported, r.stage, r.payload
            FROM webhook.pending AS r
            WHERE r.webhook_id = (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2)
              AND r.id > $4
              AND r.id < (SELECT j."end" FROM webhook.job AS j WHERE j.id = $1)
            ORDER BY r.id
            LIMIT $3
        ) AS q
    ) AS p
    WHERE p.before < $5
), judged AS MATERIALIZED (
    SELECT p.id, p.xid, CASE WHEN k.path IS NULL OR p.payload = '' THEN true ELSE webhook.finds(p.payload, k.path) END AS found
    FROM page AS p
    CROSS JOIN webhook.job AS j
    LEFT JOIN webhook.job_path AS k ON k.job = j.id
    WHERE j.id = $1
      AND (pg_visible_in_snapshot(p.written, j.seen) OR p.written = j.caller)
      -- one that has been erased, but for one that was in the ring when it was
      AND (p.payload <> '' OR p.stage < 3)
), erased AS (
    DELETE FROM webhook.pending AS p
    USING judged AS u
    WHERE u.found AND p.id = u.id AND p.xid = u.xid
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        p.stage AS was, 3::smallint AS stage,
        p.status_code, p.duration_us, p.error_class,
        p.event_type, p.schema_name, p.table_name, p.event_id, '' AS payload, p.event_slot, p.key, p.imported,
        coalesce(CASE WHEN p.stage = 3 THEN p.dead_at END, $6) AS dead_at
), put AS MATERIALIZED (
    SELECT erased.webhook, erased.was, erased.stage, erased.id, erased.xid, webhook.put('pending', erased, 'was') FROM erased
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, p.was, p.stage, count(*) FROM put AS p WHERE p.was <> p.stage GROUP BY p.webhook, p.was, p.stage
)
SELECT
    (SELECT count(*) FROM page) AS seen_rows,
    NULL::xid8 AS place_xid,
    (SELECT max(p.id) FROM page AS p) AS place,
    NULL::integer AS wanted,
    (SELECT count(*) FROM put) AS done,
    0::bigint AS bytes,
    (SELECT count(*) FROM judged AS u WHERE u.found IS NULL) AS skipped,
    coalesce((SELECT array_agg(p.id ORDER BY p.id) FROM put AS p), '{}') AS ids,
    coalesce((SELECT array_agg(p.xid::text::bigint ORDER BY p.id) FROM put AS p), '{}') AS xids
