UPDATE webhook.health AS h SET
    fail_count = u.fail_count,
    last_success_at = coalesce(u.last_success_at, h.last_success_at),
    last_failure_at = coalesce(u.last_failure_at, h.last_failure_at),
    last_error = coalesce(u.last_error, h.last_error)
FROM unnest($1, $2, $3, $4, $5) AS u (webhook, fail_count, last_success_at, last_failure_at, last_error)
WHERE h.webhook = u.webhook
