-- The columns that watch $1 sends are those that have their names now, from now on. Returns the first that there is none of.
WITH named AS (
    SELECT v.id, k.name, k.position, a.attnum
    FROM webhook.watch AS v
    CROSS JOIN LATERAL unnest(v.payload_columns) WITH ORDINALITY AS k (name, position)
    LEFT JOIN pg_attribute AS a
        ON a.attrelid = v.relation AND a.attname::text = k.name AND a.attnum > 0 AND NOT a.attisdropped
    WHERE v.id = $1
), forgotten AS (
    DELETE FROM webhook.watch_payload WHERE watch = $1 AND NOT EXISTS (SELECT FROM named)
), recorded AS (
    INSERT INTO webhook.watch_payload (watch, numbers)
    SELECT n.id, array_agg(n.attnum ORDER BY n.position)
    FROM named AS n
    GROUP BY n.id
    HAVING bool_and(n.attnum IS NOT NULL)
    ON CONFLICT (watch) DO UPDATE SET numbers = excluded.numbers
)
SELECT n.name FROM named AS n WHERE n.attnum IS NULL ORDER BY n.position LIMIT 1
