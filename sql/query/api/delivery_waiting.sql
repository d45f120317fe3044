-- The webhook of delivery $1 if that is in the backlog, and role $2 may manage it (see webhook.manages): its name, whether it is
-- deleted, the transaction that wrote the event, whether that is a test, and whether it is as its transform left it.
SELECT
    w.name,
    w.deleted_at IS NOT NULL AS orphan,
    p.xid::text::bigint AS transaction,
    p.event_type = 'TEST' AS test,
    p.failure IS NULL AS transformed
FROM webhook.pending AS p
JOIN webhook.owned AS w ON w.uuid = p.webhook_id
WHERE p.id = $1 AND webhook.manages($2, w.role)
