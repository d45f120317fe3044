SELECT count(*) AS count FROM webhook.webhook WHERE deleted_at IS NULL
