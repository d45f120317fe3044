-- Whoever arms a copy takes its triggers as they are.
INSERT INTO webhook.watch_trigger (watch, operation, condition, columns)
SELECT
    s.watch,
    s.operation,
    sha256(convert_to(t.tgqual::text, 'UTF8')),
    CASE WHEN s.operation = 'UPDATE' THEN (
        SELECT array_agg(a.attnum ORDER BY c.position)
        FROM webhook.watch AS v
        CROSS JOIN unnest(v.columns) WITH ORDINALITY AS c (name, position)
        JOIN pg_attribute AS a ON a.attrelid = v.relation AND a.attname::text = c.name AND a.attnum > 0
        WHERE v.id = s.watch
    ) END
FROM webhook.watched_trigger AS s
JOIN pg_trigger AS t ON t.oid = s.trigger
WHERE s.ours
ON CONFLICT (watch, operation) DO UPDATE SET condition = excluded.condition
