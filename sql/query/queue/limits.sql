-- The bounds of what waits, of each webhook; NULL where the server's settings say.
SELECT
    w.id,
    w.name,
    w.max_backlog::bigint,
    w.max_backlog_bytes,
    extract(epoch FROM w.max_backlog_age)::bigint,
    extract(epoch FROM w.dead_letter_retention)::bigint
FROM webhook.webhook AS w
WHERE w.deleted_at IS NULL
