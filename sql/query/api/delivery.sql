-- The webhook of delivery $1 if role $2 may manage it (see webhook.manages): its name, whether it is
-- deleted, the transaction that wrote the event, and whether that is a test.
SELECT
    w.name,
    w.deleted_at IS NOT NULL AS orphan,
    d.xid::text::bigint AS transaction,
    EXISTS (
        SELECT FROM webhook.event AS e
        WHERE e.xid = d.xid AND e.id = $1 AND e.event_type = 'TEST'
    ) AS test
FROM (
    SELECT a.webhook_id, a.xid FROM webhook.logged AS a WHERE a.delivery = $1
    UNION ALL
    SELECT p.webhook_id, p.xid FROM webhook.pending AS p WHERE p.id = $1
    UNION ALL
    SELECT f.webhook_id, f.xid FROM webhook.fresh AS f WHERE f.id = $1
    UNION ALL
    SELECT u.webhook_id, u.xid FROM webhook.unlogged AS u WHERE u.id = $1
) AS d
JOIN webhook.owned AS w ON w.uuid = d.webhook_id
WHERE webhook.manages($2, w.role)
LIMIT 1
