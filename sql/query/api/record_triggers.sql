-- Whoever arms a copy ($1) takes its triggers as they are. In a database that sends they count as they were made, but for
-- those that a dump has brought, of which nothing is recorded. For one that is missing, or another than ours, a hash is
-- recorded that no trigger has.
INSERT INTO webhook.watch_trigger (watch, operation, condition, columns)
SELECT
    s.watch,
    s.operation,
    CASE WHEN s.ours THEN sha256(convert_to(t.tgqual::text, 'UTF8')) ELSE '' END,
    CASE WHEN s.operation = 'UPDATE' AND v.columns IS NOT NULL THEN coalesce(u.numbers, '{}') END
FROM webhook.watched_trigger AS s
JOIN webhook.watch AS v ON v.id = s.watch
JOIN webhook.update_columns AS u ON u.watch = s.watch
LEFT JOIN pg_trigger AS t ON t.oid = s.trigger
ON CONFLICT (watch, operation) DO UPDATE SET condition = excluded.condition
WHERE $1 AND excluded.condition IS DISTINCT FROM ''
