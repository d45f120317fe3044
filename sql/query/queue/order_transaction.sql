-- The same of a late transaction: see order_range.sql.
SELECT
    e.slot, e.xid, e.id, e.payload <> '' AS ordered, octet_length(e.payload) AS bytes,
    e.failure IS NOT NULL AS failed
FROM webhook.event AS e
WHERE e.keys IS NOT NULL
  AND e.xid = $1 AND e.id > $2
ORDER BY e.xid, e.id
LIMIT $3
