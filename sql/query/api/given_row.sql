-- Of JSON $2, which is to be a row of table $1: whether it is an object, and a key of it that is no column of the table, if there is one.
SELECT
    jsonb_typeof(r.given) = 'object' AS is_object,
    (
        SELECT k.key
        FROM jsonb_object_keys(CASE jsonb_typeof(r.given) WHEN 'object' THEN r.given ELSE '{}' END) AS k (key)
        WHERE NOT EXISTS (
            SELECT
            FROM pg_attribute AS a
            WHERE a.attrelid = $1 AND a.attname::text = k.key AND a.attnum > 0 AND NOT a.attisdropped
        )
        LIMIT 1
    ) AS unknown
FROM (SELECT $2::jsonb) AS r (given)
