-- What of table $2, or of the table that it is a part of, watch $1 captures, where columns have been chosen or its webhook's
-- owner may not read all: why nothing, if so, and the numbers of the columns that are sent, NULL for all.
SELECT
    q.bar,
    CASE WHEN v.payload_columns IS NULL AND q.hidden <> '{}' THEN (
        SELECT coalesce(array_agg(a.attnum ORDER BY p.attnum), '{}')
        FROM pg_attribute AS p
        JOIN pg_attribute AS a ON a.attrelid = $2 AND a.attname = p.attname
        WHERE p.attrelid = v.relation AND p.attnum > 0 AND NOT p.attisdropped AND p.attgenerated <> 'v'
          AND p.attname::text <> ALL (q.hidden)
    ) WHEN v.payload_columns IS NOT NULL THEN (
        SELECT coalesce(array_agg(a.attnum ORDER BY p.position), '{}')
        FROM webhook.payload_column AS p
        JOIN pg_attribute AS a
            ON a.attrelid = $2 AND a.attname::text = p.name AND a.attnum > 0 AND NOT a.attisdropped
        WHERE p.watch = $1
    ) END AS columns,
    w.name
FROM webhook.watch_right AS q
JOIN webhook.watch AS v ON v.id = q.watch
JOIN webhook.webhook AS w ON w.uuid = v.webhook
WHERE q.watch = $1
