-- Delivery $1 has been replayed: if it is a dead letter, it is none any more.
INSERT INTO webhook.closed (delivery, xid, how, settled)
SELECT p.id, p.xid, 'replayed', true
FROM webhook.pending AS p
WHERE p.id = $1 AND p.next_at = 'infinity'
ON CONFLICT DO NOTHING
