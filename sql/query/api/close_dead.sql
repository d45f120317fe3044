-- Delivery $1, whose event transaction $2 wrote, has been replayed: if it is a dead letter, it is none any more.
INSERT INTO webhook.closed (delivery, xid, how, settled)
SELECT d.id, d.xid, 'replayed', true
FROM (
    SELECT p.id, p.xid FROM webhook.pending AS p WHERE p.id = $1 AND p.xid = $2::text::xid8 AND p.next_at = 'infinity'
    UNION
    SELECT e.id, e.xid FROM webhook.event AS e WHERE e.xid = $2::text::xid8 AND e.id = $1 AND e.failure IS NOT NULL
) AS d
ON CONFLICT DO NOTHING
