-- The newest $3 tests of webhooks $4 that failed, with ids from $1 to below $2. By rows, as in ended_of.sql.
SELECT d.*
FROM (
    SELECT a.*
    FROM unnest($4) AS w (uuid)
    CROSS JOIN LATERAL (
        SELECT n.delivery AS id, n.xid, n.slot, n.webhook_id
        FROM webhook.attempt AS n
        WHERE (n.webhook_id, n.verdict, n.delivery) >= (w.uuid, 'failed', $1)
          AND (n.webhook_id, n.verdict, n.delivery) < (w.uuid, 'failed', $2)
          AND n.verdict <> 'delivered'
          AND n.webhook_id IS NOT NULL
        ORDER BY n.webhook_id DESC, n.verdict DESC, n.delivery DESC
        LIMIT $3
    ) AS a
    ORDER BY a.id DESC
    LIMIT $3
) AS k
CROSS JOIN LATERAL (
    SELECT e.* FROM webhook.ended AS e WHERE e.slot = k.slot AND e.webhook_id = k.webhook_id AND e.id = k.id AND e.xid = k.xid
) AS d
