-- Deliveries that have been cancelled since the worker looked.
SELECT c.delivery, c.xid FROM webhook.closed AS c WHERE NOT c.settled ORDER BY c.delivery LIMIT $1
