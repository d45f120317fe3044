-- Webhook $1, locked against other changes, if it is live and role $2 may still manage it; with whether that role
-- has the rights of its owner.
SELECT
    w.name, w.url, w.format, w.signature, w.signature_header,
    coalesce(pg_has_role($2, r.role, 'USAGE'), false) AS has_rights
FROM webhook.webhook AS w
LEFT JOIN webhook.owner_role AS r ON r.anchor = w.owner
WHERE w.id = $1
  AND w.deleted_at IS NULL
  AND webhook.manages($2, r.role)
FOR NO KEY UPDATE OF w
