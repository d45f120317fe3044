-- What delivery_waiting.sql does, where delivery $1 has ended, or been attempted, in the log.
SELECT
    w.name,
    w.deleted_at IS NOT NULL AS orphan,
    a.xid::text::bigint AS transaction,
    EXISTS (
        SELECT FROM webhook.event AS e
        WHERE e.slot = a.event_slot AND e.xid = a.xid AND e.id = $1 AND e.event_type = 'TEST'
    ) AS test,
    a.verdict = 'delivered' AS transformed
FROM (
    SELECT n.xid, n.webhook_id, n.verdict, n.event_slot
    FROM webhook.attempt AS n
    WHERE n.delivery = $1 AND n.verdict IN ('delivered', 'failed')
    UNION ALL
    SELECT n.xid, n.webhook_id, n.verdict, n.event_slot
    FROM webhook.attempt AS n
    WHERE n.delivery = $1 AND n.verdict <> 'delivered' AND n.verdict <> 'failed'
) AS a
JOIN webhook.owned AS w ON w.uuid = a.webhook_id
WHERE webhook.manages($2, w.role)
LIMIT 1
