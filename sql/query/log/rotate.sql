-- At $2.
UPDATE webhook.ring SET slot = $1, since = $2, blocked = NULL, blocked_at = NULL, unlogged = array_remove(unlogged, $1)
