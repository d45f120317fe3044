-- The next $3 places in the order of webhook $1 behind $2.
SELECT o.delivery, o.position
FROM webhook.place AS o
WHERE o.webhook = $1 AND o.position > $2
ORDER BY o.webhook, o.position
LIMIT $3
