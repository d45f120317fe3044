UPDATE webhook.webhook SET paused = $2, updated_at = now() WHERE id = $1
