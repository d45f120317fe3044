-- Webhook $1 belongs to whoever owns domain $2.
UPDATE webhook.webhook SET owner = $2, updated_at = now() WHERE id = $1
