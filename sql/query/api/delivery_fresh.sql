-- What delivery_waiting.sql does, where delivery $1 is after the cursor, or before it and nowhere else.
SELECT
    w.name,
    w.deleted_at IS NOT NULL AS orphan,
    d.xid::text::bigint AS transaction,
    false AS test,
    d.failure IS NULL AS transformed
FROM webhook.remaining AS d
JOIN webhook.owned AS w ON w.uuid = d.webhook_id
WHERE d.id = $1 AND webhook.manages($2, w.role)
LIMIT 1
