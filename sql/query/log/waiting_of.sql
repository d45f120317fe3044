-- The newest $3 deliveries in the backlog of webhooks $4, with ids from $1 to below $2: those at stages $5 with status $6, or with any. By
-- rows, as in ended_of.sql.
SELECT d.*
FROM (
    SELECT p.*
    FROM unnest($4) AS w (uuid)
    CROSS JOIN unnest($5) AS t (stage)
    CROSS JOIN LATERAL (
        SELECT n.id
        FROM webhook.waiting AS n
        WHERE (n.webhook_id, n.stage, n.id) >= (w.uuid, t.stage, $1)
          AND (n.webhook_id, n.stage, n.id) < (w.uuid, t.stage, $2)
          AND ($6 IS NULL OR n.status = $6)
        ORDER BY n.webhook_id DESC, n.stage DESC, n.id DESC
        LIMIT $3
    ) AS p
    ORDER BY p.id DESC
    LIMIT $3
) AS k
CROSS JOIN LATERAL (SELECT n.* FROM webhook.waiting AS n WHERE n.id = k.id) AS d
