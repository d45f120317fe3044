-- Deliveries of webhook $1 whose transform has failed, that were made in [$2, $3) and have status $4, with the
-- transactions that wrote their events. Dead letters as in replay_all.sql.
SELECT d.id, d.xid::text::bigint AS transaction
FROM webhook.dead AS d
WHERE $4 = 'dead'
  AND d.webhook_id = (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $1)
  AND d.failure IS NOT NULL
  AND (d.created_at >= $2) IS NOT FALSE
  AND (d.created_at < $3) IS NOT FALSE
  AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = d.id AND c.xid = d.xid)
UNION ALL
SELECT d.id, d.xid::text::bigint AS transaction
FROM webhook.delivery AS d
-- no other status but cancelled is left to them
WHERE $4 = 'cancelled'
  AND d.webhook = $1
  AND d.status = $4
  AND d.failure IS NOT NULL
  AND (d.created_at >= $2) IS NOT FALSE
  AND (d.created_at < $3) IS NOT FALSE
ORDER BY 1
