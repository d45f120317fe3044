-- No row where the owner has a webhook of this name; whoever is making one is waited for.
-- Of role $18. Its key $17 does not come from the default, which would leave a trace in the session.
INSERT INTO webhook.webhook (
    id, name, url, description, enabled, format, signature, signature_header, event_types, on_transform_error,
    max_retries, timeout_seconds, retry_backoff_seconds, retry_for, max_concurrency, rate_limit, owner, owner_name,
    installation, max_backlog, max_backlog_bytes, max_backlog_age, dead_letter_retention
)
VALUES (
    $17, $1, $2, nullif($3, ''), $4, $5, $6, nullif($7, ''), $8, $9, nullif($10, -1), $11, $12,
    $13, $14, nullif($15, 0), $16, pg_get_userbyid($18)::text,
    (SELECT i.id FROM webhook.installation AS i),
    nullif($19, 0), nullif($20, 0), nullif($21, interval '0'), nullif($22, interval '0')
)
ON CONFLICT (name, owner) WHERE deleted_at IS NULL DO NOTHING
RETURNING id, uuid, created_at
