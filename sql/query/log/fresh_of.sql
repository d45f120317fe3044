-- The newest $3 deliveries of webhooks $4 after the cursor, with ids from $1 to below $2 and one of statuses $5.
SELECT f.* FROM webhook.fresh AS f WHERE f.webhook_id = ANY ($4) AND f.id >= $1 AND f.id < $2 AND f.status = ANY ($5)
ORDER BY f.id DESC
LIMIT $3
