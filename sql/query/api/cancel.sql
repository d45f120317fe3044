-- As cancel_waiting.sql, where it is in the backlog or in the ring alone. Nothing else is unfinished.
INSERT INTO webhook.closed AS k (delivery, xid, how, settled)
SELECT d.id, d.xid, 'cancelled', false
FROM (
    SELECT p.id, p.xid, p.status, p.event_type FROM webhook.waiting AS p WHERE p.id = $1 AND p.xid = $2::text::xid8
    UNION ALL
    SELECT f.id, f.xid, f.status, f.event_type FROM webhook.fresh AS f WHERE f.id = $1 AND f.xid = $2::text::xid8
) AS d
WHERE d.status IN ('pending', 'retrying', 'held', 'dead')
  AND d.event_type <> 'TEST'
-- nor is one finished that is to be sent again and has not been yet
ON CONFLICT (delivery, xid) DO UPDATE SET how = 'cancelled' WHERE k.how = 'rearmed'
