-- Of events of the ring, in slots $1, of transactions $2, with ids $3, those in the places of which they have come.
SELECT e.replaces AS id
FROM unnest($1, $2, $3) AS u (slot, xid, id)
JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id = u.id
WHERE e.replaces IS NOT NULL
