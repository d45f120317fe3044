-- The newest $3 deliveries in the backlog of webhooks $4, with ids from $1 to below $2, at stages $5, for which somebody has asked
-- since the worker looked that they be $6.
SELECT p.*
FROM webhook.closed AS c
JOIN webhook.waiting AS p ON p.id = c.delivery AND p.xid = c.xid
WHERE NOT c.settled
  AND c.how = $6
  AND c.delivery >= $1
  AND c.delivery < $2
  AND p.webhook_id = ANY ($4)
  AND p.stage = ANY ($5)
ORDER BY p.id DESC
LIMIT $3
