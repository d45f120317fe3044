-- The bounds of what waits, of each webhook; NULL where the server's settings say.
SELECT
    w.id,
    w.name,
    w.max_backlog::bigint AS max_backlog,
    w.max_backlog_bytes,
    extract(epoch FROM w.max_backlog_age)::bigint AS max_backlog_age,
    extract(epoch FROM w.dead_letter_retention)::bigint AS dead_letter_retention
FROM webhook.webhook AS w
WHERE w.deleted_at IS NULL
