-- What delivery_waiting.sql does, where delivery $1 is after the cursor, or before it and nowhere else.
SELECT
    w.name,
    w.deleted_at IS NOT NULL AS orphan,
    d.xid::text::bigint AS transaction,
    false AS test,
    d.failure IS NULL AS transformed
FROM (
    SELECT f.webhook_id, f.xid, f.failure FROM webhook.fresh AS f WHERE f.id = $1
    UNION ALL
    SELECT u.webhook_id, u.xid, u.failure FROM webhook.unlogged AS u WHERE u.id = $1
) AS d
JOIN webhook.owned AS w ON w.uuid = d.webhook_id
WHERE webhook.manages($2, w.role)
LIMIT 1
