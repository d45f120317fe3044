-- The columns that an UPDATE must change are others from now on. Returns the trigger and what it
-- depends on.
WITH recorded AS (
    UPDATE webhook.watch_trigger AS r SET columns = u.numbers
    FROM webhook.update_columns AS u
    WHERE r.watch = $1 AND r.operation = 'UPDATE' AND u.watch = $1
    RETURNING r.columns
)
SELECT s.trigger, r.columns, t.tgqual
FROM webhook.watched_trigger AS s
JOIN pg_trigger AS t ON t.oid = s.trigger
JOIN recorded AS r ON true
WHERE s.watch = $1 AND s.operation = 'UPDATE' AND s.ours
