UPDATE webhook.cursor SET snap = $1, at = now()
