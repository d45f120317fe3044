SELECT coalesce(max(id), 0) FROM webhook.webhook
