WITH new AS (
    INSERT INTO webhook.webhook (
        name, url, description, enabled, signature, max_retries, timeout_seconds,
        retry_backoff_seconds, retry_for, max_concurrency, owner
    )
    VALUES ($1, $2, nullif($3, ''), $4, $5, nullif($6, -1), $7, $8, $9, $10, $11)
    RETURNING id, uuid, created_at
), secret AS (
    INSERT INTO webhook.secret (webhook, signing_key, headers) SELECT id, $12, $13 FROM new
)
SELECT id, uuid, created_at FROM new
