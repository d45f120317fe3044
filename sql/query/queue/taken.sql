-- Of events with ids $1, which transactions $2 wrote, those whose id another delivery in the backlog has.
SELECT u.id, u.xid
FROM unnest($1, $2) AS u (id, xid)
JOIN webhook.pending AS p ON p.id = u.id AND p.xid <> u.xid
