-- A page of a window: see Scan::Range in src/transit/window.rs. A TEST has been sent by the session that
-- made it. Without its body an event goes to the backlog: because its webhook is behind, or because it
-- has been cancelled.
SELECT e.slot, e.xid, e.id, e.webhook, e.event_id,
       CASE
           WHEN e.webhook = ANY ($7) THEN NULL
           WHEN EXISTS (SELECT FROM webhook.closed)
               AND (SELECT true FROM webhook.closed AS c WHERE c.delivery = e.id AND c.xid = e.xid) THEN NULL
           ELSE e.payload
       END AS payload,
       e.failure,
       CASE WHEN e.webhook = ANY ($7) THEN pg_column_size(e.payload) ELSE 0 END AS left_out
FROM webhook.event AS e
WHERE (e.xid, e.id) > ($1, $2)
  AND e.xid < $3
  AND pg_visible_in_snapshot(e.xid, $4)
  AND NOT pg_visible_in_snapshot(e.xid, $5)
  AND e.event_type <> 'TEST'
  -- those that have an order are read apart: see order_range.sql
  AND e.keys IS NULL
  -- one that has been erased is not to be sent
  AND e.payload <> ''
ORDER BY e.xid, e.id
LIMIT $6
