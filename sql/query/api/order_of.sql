-- By what rows of table $2 are ordered for webhook $1: the watch, if it is watched, and the columns of the primary key.
SELECT
    (
        SELECT v.id
        FROM webhook.watch AS v
        JOIN webhook.webhook AS w ON w.uuid = v.webhook
        WHERE w.id = $1 AND v.relation = $2
        LIMIT 1
    ) AS watch,
    (
        SELECT array_agg(a.attname::text ORDER BY k.position)
        FROM pg_index AS x
        CROSS JOIN unnest((string_to_array(x.indkey::text, ' ')::smallint[])[:x.indnkeyatts])
            WITH ORDINALITY AS k (number, position)
        JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number
        WHERE x.indrelid = $2 AND x.indisprimary
    ) AS key
