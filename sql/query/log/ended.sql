-- The newest $3 deliveries of all webhooks that have ended, with ids from $1 to below $2.
SELECT d.*
FROM (
    SELECT a.delivery AS id, a.xid, a.slot, a.webhook_id
    FROM webhook.attempt AS a
    WHERE a.verdict IN ('delivered', 'failed') AND a.delivery >= $1 AND a.delivery < $2
      -- what came from elsewhere has no event here
      AND a.event_slot IS NOT NULL
      -- forgotten ones are shown to nobody
      AND EXISTS (SELECT FROM webhook.webhook AS w WHERE w.uuid = a.webhook_id)
    ORDER BY a.delivery DESC
    LIMIT $3
) AS k
CROSS JOIN LATERAL (
    SELECT e.* FROM webhook.ended AS e WHERE e.slot = k.slot AND e.webhook_id = k.webhook_id AND e.id = k.id AND e.xid = k.xid
) AS d
