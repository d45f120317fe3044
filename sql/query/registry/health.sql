INSERT INTO webhook.health AS h (
    webhook, fail_count, unwell, last_success_at, last_failure_at, last_error, failing_since, held_until, throttled
)
SELECT
    u.webhook, u.fail_count, u.unwell, u.last_success_at, u.last_failure_at, u.last_error, u.failing_since, u.held_until, u.throttled
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS u (
    webhook, fail_count, unwell, last_success_at, last_failure_at, last_error, failing_since, held_until, throttled
)
JOIN webhook.webhook AS w ON w.id = u.webhook AND w.deleted_at IS NULL
ON CONFLICT (webhook) DO UPDATE SET
    fail_count = excluded.fail_count,
    unwell = excluded.unwell,
    last_success_at = coalesce(excluded.last_success_at, h.last_success_at),
    last_failure_at = coalesce(excluded.last_failure_at, h.last_failure_at),
    last_error = coalesce(excluded.last_error, h.last_error),
    failing_since = excluded.failing_since,
    held_until = excluded.held_until,
    throttled = excluded.throttled
