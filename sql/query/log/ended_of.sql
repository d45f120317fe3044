-- The newest $3 deliveries of webhooks $4 that have ended, with ids from $1 to below $2: those that were made or, where $5, tests
-- as well. By rows, so that no index is of use but that of webhooks: the planner would take the other one, in which those of a
-- webhook can be far apart.
SELECT d.*
FROM (
    SELECT a.*
    FROM unnest($4) AS w (uuid)
    CROSS JOIN LATERAL (
        SELECT n.delivery AS id, n.xid, n.slot, n.webhook_id
        FROM webhook.attempt AS n
        WHERE (n.webhook_id, n.delivery) >= (w.uuid, $1)
          AND (n.webhook_id, n.delivery) < (w.uuid, $2)
          AND n.verdict IN ('delivered', 'failed')
          AND ($5 OR n.verdict = 'delivered')
          AND n.webhook_id IS NOT NULL
          -- what came from elsewhere has no event here
          AND n.event_slot IS NOT NULL
        ORDER BY n.webhook_id DESC, n.delivery DESC
        LIMIT $3
    ) AS a
    ORDER BY a.id DESC
    LIMIT $3
) AS k
CROSS JOIN LATERAL (
    SELECT e.* FROM webhook.ended AS e WHERE e.slot = k.slot AND e.webhook_id = k.webhook_id AND e.id = k.id AND e.xid = k.xid
) AS d
