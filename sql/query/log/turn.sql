UPDATE webhook.ring SET slot = $1, since = now()
