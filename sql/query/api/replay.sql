-- Writes the event of delivery $1, which transaction $2 wrote, into the ring once more: the same body
-- under the same event id.
WITH original AS (
    SELECT e.webhook, e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.keys
    FROM webhook.event AS e
    WHERE e.xid = $2::text::xid8 AND e.id = $1 AND e.payload <> ''
    UNION ALL
    SELECT p.webhook, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.keys
    FROM webhook.pending AS p
    WHERE p.id = $1 AND p.xid = $2::text::xid8 AND p.payload <> ''
    LIMIT 1
), replay AS (
    SELECT
        pg_current_xact_id() AS xid, webhook.next_id() AS id, clock_timestamp() AS created_at, o.webhook, r.slot,
        o.event_type, o.schema_name, o.table_name, coalesce(o.event_id, format('evt_%s_%s', i.id, $1)) AS event_id,
        o.payload, o.keys
    FROM original AS o
    CROSS JOIN webhook.ring AS r
    CROSS JOIN webhook.installation AS i
)
SELECT replay.id, webhook.put('event_' || replay.slot, replay) FROM replay
