DELETE FROM webhook.level WHERE role = $1
