DELETE FROM webhook.watch WHERE id = $1
