-- Whoever arms a copy ($1) takes its triggers as they are. In a database that sends they count as they were made, but for
-- those that a dump has brought, of which nothing is recorded.
INSERT INTO webhook.watch_trigger (watch, operation, condition, columns)
SELECT
    s.watch,
    s.operation,
    sha256(convert_to(t.tgqual::text, 'UTF8')),
    CASE WHEN s.operation = 'UPDATE' THEN (
        SELECT u.numbers FROM webhook.update_columns AS u WHERE u.watch = s.watch
    ) END
FROM webhook.watched_trigger AS s
JOIN pg_trigger AS t ON t.oid = s.trigger
WHERE s.ours
ON CONFLICT (watch, operation) DO UPDATE SET condition = excluded.condition WHERE $1
