UPDATE webhook.webhook SET paused = $2, paused_because = NULL, updated_at = now() WHERE id = $1
