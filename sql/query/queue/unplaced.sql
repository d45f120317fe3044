-- The next $1 deliveries that have been imported and have no place in the order.
SELECT o.delivery AS id FROM webhook.place AS o WHERE o.position IS NULL ORDER BY o.delivery LIMIT $1
