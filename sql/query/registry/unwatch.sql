DELETE FROM webhook.watch WHERE webhook = $1 AND relation = $2::regclass
