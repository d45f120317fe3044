-- A page of a late transaction: see Scan::Transaction in src/transit/window.rs.
SELECT e.slot, e.xid, e.id, e.webhook, e.event_id,
       CASE
           WHEN e.webhook = ANY ($4) THEN NULL
           WHEN EXISTS (SELECT FROM webhook.closed)
               AND (SELECT true FROM webhook.closed AS c WHERE c.delivery = e.id AND c.xid = e.xid) THEN NULL
           ELSE e.payload
       END AS payload,
       e.failure,
       CASE WHEN e.webhook = ANY ($4) THEN pg_column_size(e.payload) ELSE 0 END AS left_out
FROM webhook.event AS e
WHERE e.xid = $1
  AND e.id > $2
  AND e.event_type <> 'TEST'
  AND e.keys IS NULL
  -- one that has been erased is not to be sent
  AND e.payload <> ''
ORDER BY e.xid, e.id
LIMIT $3
