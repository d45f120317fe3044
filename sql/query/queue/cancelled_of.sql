-- Those of deliveries $1 that have been cancelled since the worker looked.
SELECT c.delivery, c.xid FROM webhook.closed AS c WHERE NOT c.settled AND c.how = 'cancelled' AND c.delivery = ANY ($1)
