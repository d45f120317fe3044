-- Records the trigger of watch $1 for operation $2 as it is now, and returns what it depends on. No row where there is
-- none of ours, or the watch is no more, or the trigger is still that of $3 (see triggers.sql).
WITH made AS (
    SELECT
        s.watch,
        s.operation,
        s.trigger,
        t.tgqual,
        sha256(convert_to(t.tgqual::text, 'UTF8')) AS condition,
        CASE WHEN s.operation = 'UPDATE' THEN (
            SELECT u.numbers FROM webhook.update_columns AS u WHERE u.watch = s.watch
        ) END AS columns
    FROM webhook.watched_trigger AS s
    JOIN webhook.webhook AS w ON w.id = s.webhook AND w.deleted_at IS NULL
    JOIN pg_trigger AS t ON t.oid = s.trigger
    WHERE s.watch = $1 AND s.operation = $2 AND s.ours AND t.ctid::text IS DISTINCT FROM $3
), recorded AS (
    INSERT INTO webhook.watch_trigger (watch, operation, condition, columns)
    SELECT made.watch, made.operation, made.condition, made.columns FROM made
    ON CONFLICT (watch, operation) DO UPDATE SET condition = excluded.condition, columns = excluded.columns
)
SELECT made.trigger, made.columns, made.tgqual FROM made
