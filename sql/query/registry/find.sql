-- The live webhooks of this name or uuid that role $2 may manage (see webhook.manages), or see where $3 says that this will do, and
-- whether it is their owner.
SELECT w.id, coalesce(w.role = $2, false) AS is_owner
FROM webhook.owned AS w
WHERE (w.name = $1 OR w.uuid::text = lower($1))
  AND w.deleted_at IS NULL
  AND CASE WHEN $3 THEN webhook.sees($2, w.role) ELSE webhook.manages($2, w.role) END
