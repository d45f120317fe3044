-- NULL leaves a column as it is. From $8 on the plain settings, in the order in which src/registry/definition.rs has them.
UPDATE webhook.webhook SET
    name = coalesce($2, name),
    url = coalesce($3, url),
    format = coalesce($4, format),
    signature = coalesce($5, signature),
    signature_header = nullif(coalesce($6, signature_header), ''),
    event_types = coalesce($7, event_types),
    description = nullif(coalesce($8, description), ''),
    enabled = coalesce($9, enabled),
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
    disable_after = nullif(coalesce($21, disable_after), interval '0'),
    batch_size = coalesce($22, batch_size),
    batch_bytes = coalesce($23, batch_bytes),
    batch_wait = nullif(coalesce($24, batch_wait), interval '0'),
    batch_format = coalesce($25, batch_format),
    updated_at = now()
WHERE id = $1
RETURNING enabled
