-- The tables of webhook $1; those that have been dropped meanwhile have no name of now. Columns are called what they are
-- called now, and one of payload_columns that is gone what it was.
SELECT
    v.id,
    v.relation,
    CASE WHEN c.oid IS NULL THEN v.old_name ELSE format('%I.%I', n.nspname, c.relname) END AS table_name,
    c.oid IS NULL AS dropped,
    v.events,
    u.names AS columns,
    v.condition,
    (
        SELECT array_agg(coalesce(p.name, p.named) ORDER BY p.position)
        FROM webhook.payload_column AS p
        WHERE p.watch = v.id
    ) AS payload_columns
FROM webhook.watched AS v
JOIN webhook.update_columns AS u ON u.watch = v.id
LEFT JOIN pg_class AS c ON c.oid = v.relation
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE v.webhook = $1
ORDER BY v.created_at, c.relname
