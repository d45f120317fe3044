-- NULL leaves a column as it is.
UPDATE webhook.webhook SET
    name = coalesce($2, name),
    url = coalesce($3, url),
    description = nullif(coalesce($4, description), ''),
    enabled = coalesce($5, enabled),
    signature = coalesce($6, signature),
    max_retries = nullif(coalesce($7, max_retries), -1),
    timeout_seconds = coalesce($8, timeout_seconds),
    retry_backoff_seconds = coalesce($9, retry_backoff_seconds),
    retry_for = coalesce($10, retry_for),
    max_concurrency = coalesce($11, max_concurrency),
    rate_limit = nullif(coalesce($12, rate_limit), 0),
    updated_at = now()
WHERE id = $1
