-- NULL leaves a column as it is.
UPDATE webhook.webhook SET
    name = coalesce($2, name),
    url = coalesce($3, url),
    description = nullif(coalesce($4, description), ''),
    enabled = coalesce($5, enabled),
    format = coalesce($6, format),
    signature = coalesce($7, signature),
    signature_header = nullif(coalesce($8, signature_header), ''),
    event_types = coalesce($9, event_types),
    on_transform_error = coalesce($10, on_transform_error),
    max_retries = nullif(coalesce($11, max_retries), -1),
    timeout_seconds = coalesce($12, timeout_seconds),
    retry_backoff_seconds = coalesce($13, retry_backoff_seconds),
    retry_for = coalesce($14, retry_for),
    max_concurrency = coalesce($15, max_concurrency),
    rate_limit = nullif(coalesce($16, rate_limit), 0),
    max_backlog = nullif(coalesce($17, max_backlog), 0),
    max_backlog_bytes = nullif(coalesce($18, max_backlog_bytes), 0),
    max_backlog_age = nullif(coalesce($19, max_backlog_age), interval '0'),
    dead_letter_retention = nullif(coalesce($20, dead_letter_retention), interval '0'),
    updated_at = now()
WHERE id = $1
