SELECT EXISTS (
    SELECT FROM webhook.webhook
    WHERE name = $1 AND deleted_at IS NULL AND id IS DISTINCT FROM $2
)
