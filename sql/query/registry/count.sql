SELECT count(*) FROM webhook.webhook WHERE deleted_at IS NULL
