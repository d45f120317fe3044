-- A page of those events of a window that have an order, without their bodies; range.sql reads the others. One that has been erased is
-- among them, and is not to be sent.
SELECT
    e.slot, e.xid, e.id, e.payload <> '' AS ordered, octet_length(e.payload) AS bytes,
    e.failure IS NOT NULL AS failed
FROM webhook.event AS e
WHERE e.keys IS NOT NULL
  AND (e.xid, e.id) > ($1, $2)
  AND e.xid < $3
  AND pg_visible_in_snapshot(e.xid, $4)
  AND NOT pg_visible_in_snapshot(e.xid, $5)
ORDER BY e.xid, e.id
LIMIT $6
