-- An endpoint has answered 410: it does not want to be called again.
UPDATE webhook.webhook SET enabled = false, updated_at = now()
WHERE id = ANY ($1) AND enabled
RETURNING name
