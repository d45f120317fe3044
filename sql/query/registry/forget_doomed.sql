DELETE FROM webhook.doomed WHERE id = ANY ($1)
