-- What the trigger of webhook $1 on relation $2 needs. A partition speaks for the table that was
-- registered.
SELECT
    n.nspname::text,
    c.relname::text,
    (
        SELECT (string_to_array(x.indkey::text, ' ')::smallint[])[:x.indnkeyatts]
        FROM pg_index AS x
        WHERE x.indrelid = $2 AND x.indisprimary
    ),
    (
        SELECT array_agg(a.attnum ORDER BY p.position)
        FROM webhook.watch AS v
        CROSS JOIN unnest(v.payload_columns) WITH ORDINALITY AS p (name, position)
        JOIN pg_attribute AS a
            ON a.attrelid = $2 AND a.attname::text = p.name AND a.attnum > 0 AND NOT a.attisdropped
        WHERE v.webhook = $1 AND v.relation = c.oid
        HAVING count(*) > 0
    ),
    (
        SELECT v.payload_columns IS NOT NULL
        FROM webhook.watch AS v
        WHERE v.webhook = $1 AND v.relation = c.oid
    ),
    c.oid
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = coalesce(
    (
        SELECT watch.relation
        FROM pg_partition_ancestors($2) WITH ORDINALITY AS a (relation, distance)
        JOIN webhook.watch ON watch.webhook = $1 AND watch.relation = a.relation
        ORDER BY a.distance
        LIMIT 1
    ),
    $2
)
