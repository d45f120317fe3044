-- The newest $3 deliveries of webhooks $4 that are before the cursor and nowhere else, with ids from $1 to below $2.
SELECT u.* FROM webhook.unlogged AS u WHERE u.webhook_id = ANY ($4) AND u.id >= $1 AND u.id < $2
ORDER BY u.id DESC
LIMIT $3
