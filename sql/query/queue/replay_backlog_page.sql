-- The next $3 deliveries in the backlog of webhook $2, unless that has been deleted, behind id $4, fewer where their bodies are more
-- than $5 bytes: those that job $1 covers, with status $6 ('dead' or 'cancelled'), are written into the ring once more, as replay.sql
-- does. A dead letter is replayed once. Not those whose transform has failed; none where $7 is 'leave out', and where it is 'look'
-- nothing is done. Returns how many it has looked at, the last of them, how many it has replayed, or would have, with how many bytes,
-- and how many it has left out.
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
            WHERE r.webhook_id = (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2 AND w.deleted_at IS NULL)
              AND r.id > $4
              AND r.id < (SELECT j."end" FROM webhook.job AS j WHERE j.id = $1)
            ORDER BY r.id
            LIMIT $3
        ) AS q
    ) AS p
    WHERE p.before < $5
), covered AS (
    SELECT p.id, p.xid, p.bytes, p.failed OR $7 = 'leave out' AS left_out
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
    INSERT INTO webhook.closed (delivery, xid, how, settled)
    SELECT c.id, c.xid, 'replayed', true FROM covered AS c WHERE $6 = 'dead' AND $7 = 'do' AND NOT c.left_out
    ON CONFLICT DO NOTHING
    RETURNING delivery, xid
), replay AS (
    SELECT
        pg_current_xact_id() AS xid, webhook.next_id() AS id, clock_timestamp() AS created_at, o.webhook, r.slot,
        o.event_type, o.schema_name, o.table_name, coalesce(o.event_id, format('evt_%s_%s', i.id, o.id)) AS event_id, o.payload
    FROM (
        SELECT p.id, p.webhook, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload
        FROM covered AS c
        JOIN webhook.pending AS p ON p.id = c.id AND p.xid = c.xid
        WHERE $7 = 'do'
          AND NOT c.left_out
          AND ($6 <> 'dead' OR EXISTS (SELECT FROM closed AS k WHERE k.delivery = c.id AND k.xid = c.xid))
        ORDER BY c.id
    ) AS o
    CROSS JOIN webhook.ring AS r
    CROSS JOIN webhook.installation AS i
), put AS MATERIALIZED (
    SELECT webhook.put('event_' || replay.slot, replay), octet_length(replay.payload) AS bytes FROM replay
), found AS (
    SELECT c.bytes FROM covered AS c WHERE $7 = 'look' AND NOT c.left_out
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
    (SELECT count(*) FROM covered AS c WHERE c.left_out) AS skipped
