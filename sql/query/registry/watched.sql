-- The tables of webhook $1; those that have been dropped meanwhile have no name of now. Columns that an UPDATE must
-- change are called what they are called now.
SELECT
    v.id,
    v.relation::oid,
    CASE WHEN c.oid IS NULL THEN v.table_name ELSE format('%I.%I', n.nspname, c.relname) END,
    c.oid IS NULL,
    v.events,
    coalesce(
        (
            SELECT array_agg(a.attname::text ORDER BY k.position)
            FROM webhook.watch_trigger AS r
            CROSS JOIN unnest(r.columns) WITH ORDINALITY AS k (number, position)
            JOIN pg_attribute AS a ON a.attrelid = v.relation AND a.attnum = k.number AND NOT a.attisdropped
            WHERE r.watch = v.id AND r.operation = 'UPDATE'
        ),
        v.columns
    ),
    v.condition,
    v.payload_columns
FROM webhook.watch AS v
LEFT JOIN pg_class AS c ON c.oid = v.relation
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE v.webhook = $1
ORDER BY v.created_at, c.relname
