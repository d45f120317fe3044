-- The live webhooks of this name that belong to role $2.
SELECT w.id FROM webhook.owned AS w WHERE w.name = $1 AND w.deleted_at IS NULL AND w.role = $2
