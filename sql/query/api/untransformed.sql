-- The event of delivery $1, which transaction $2 wrote, if its transform has failed: what the transform is to be given
-- once more.
SELECT d.webhook, d.event_type, d.schema_name, d.table_name, coalesce(d.event_id, format('evt_%s_%s', i.id, $1)), d.payload
FROM (
    SELECT e.webhook, e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure
    FROM webhook.event AS e
    WHERE e.xid = $2::text::xid8 AND e.id = $1
    UNION ALL
    SELECT p.webhook, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure
    FROM webhook.pending AS p
    WHERE p.id = $1 AND p.xid = $2::text::xid8
    LIMIT 1
) AS d
CROSS JOIN webhook.installation AS i
WHERE d.failure IS NOT NULL
