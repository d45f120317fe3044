-- Webhook $1 belongs to role $3, which owns domain $2, and whose configurations have not made it.
UPDATE webhook.webhook SET owner = $2, owner_name = pg_get_userbyid($3)::text, applied = false, named = '{}', updated_at = now() WHERE id = $1
