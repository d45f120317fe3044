INSERT INTO webhook.attempt (
    slot, delivery, xid, started_at, duration_us, webhook, attempt, status_code,
    verdict, error_class, error, response_body
)
SELECT $1, u.*
FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS u
