WITH new AS (
    INSERT INTO webhook.webhook (
        name, url, description, enabled, signature, max_retries, timeout_seconds,
        retry_backoff_seconds, retry_for, max_concurrency, rate_limit, owner
    )
    VALUES ($1, $2, nullif($3, ''), $4, $5, nullif($6, -1), $7, $8, $9, $10, nullif($11, 0), $12)
    RETURNING id, uuid, created_at
), secret AS (
    INSERT INTO webhook.secret (webhook, signing_key, headers) SELECT id, $13, $14 FROM new
)
SELECT id, uuid, created_at FROM new
