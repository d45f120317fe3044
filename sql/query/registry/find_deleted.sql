-- The deleted webhook of this uuid, if role $2 may manage it (see webhook.manages).
SELECT w.id
FROM webhook.owned AS w
WHERE w.uuid::text = lower($1)
  AND w.deleted_at IS NOT NULL
  AND webhook.manages($2, w.role)
