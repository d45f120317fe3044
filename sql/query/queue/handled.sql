-- Deliveries with these ids that an earlier run has finished or moved to the backlog, each with the
-- transaction of its event: that of another delivery, perhaps.
SELECT a.delivery, a.xid FROM webhook.logged AS a WHERE a.delivery = ANY ($1) AND a.verdict <> 'retry'
UNION ALL
SELECT p.id, p.xid FROM webhook.pending AS p WHERE p.id = ANY ($1)
UNION ALL
SELECT c.delivery, c.xid FROM webhook.closed AS c WHERE c.delivery = ANY ($1) AND c.how = 'renewed'
