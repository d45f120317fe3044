-- Of events of the ring, in slots $1, of transactions $2, with ids $3, those that a transform has made dead.
SELECT e.slot, e.xid, e.id, e.webhook, e.failure
FROM unnest($1, $2, $3) AS u (slot, xid, id)
JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id = u.id
WHERE e.failure IS NOT NULL AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = u.id)
