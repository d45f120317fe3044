-- The live webhooks of this name or uuid that role $2 may manage (see webhook.manages), and whether it is their
-- owner.
SELECT w.id, coalesce(w.role = $2, false) AS is_owner
FROM webhook.owned AS w
WHERE (w.name = $1 OR w.uuid::text = lower($1))
  AND w.deleted_at IS NULL
  AND webhook.manages($2, w.role)
