-- The newest $3 deliveries in the backlog of all webhooks, with ids from $1 to below $2.
SELECT p.*
FROM webhook.waiting AS p
WHERE p.id >= $1
  AND p.id < $2
  -- forgotten ones are shown to nobody
  AND EXISTS (SELECT FROM webhook.webhook AS w WHERE w.uuid = p.webhook_id)
ORDER BY p.id DESC
LIMIT $3
