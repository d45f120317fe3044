-- Whoever arms a copy takes its triggers as they are.
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
ON CONFLICT (watch, operation) DO UPDATE SET condition = excluded.condition
