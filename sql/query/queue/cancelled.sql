-- Deliveries that have been cancelled since the worker looked.
SELECT c.delivery, c.xid FROM webhook.closed AS c WHERE NOT c.settled AND c.how = 'cancelled' ORDER BY c.delivery LIMIT $1
