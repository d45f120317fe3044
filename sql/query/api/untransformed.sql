-- The event of delivery $1, which transaction $2 wrote, if its transform has failed: what the transform is to be given
-- once more. What somebody has imported is run through it by nobody but those who have the rights of the webhook's owner,
-- as which it runs: whether role $3 has them.
SELECT
    d.webhook, d.event_type, d.schema_name, d.table_name, coalesce(d.event_id, format('evt_%s_%s', i.id, $1)) AS event_id,
    d.payload, d.keys,
    d.imported IS NULL OR coalesce(pg_has_role($3, w.role, 'USAGE'), false) AS may_run
FROM (
    SELECT e.webhook, e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure, e.keys, NULL::xid8 AS imported
    FROM webhook.event AS e
    WHERE e.xid = $2::text::xid8 AND e.id = $1
    UNION ALL
    SELECT p.webhook, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.keys, p.imported
    FROM webhook.pending AS p
    WHERE p.id = $1 AND p.xid = $2::text::xid8
    LIMIT 1
) AS d
JOIN webhook.owned AS w ON w.id = d.webhook
CROSS JOIN webhook.installation AS i
WHERE d.failure IS NOT NULL AND d.payload <> ''
