-- What says whose webhooks are.
SELECT DISTINCT w.owner FROM webhook.webhook AS w WHERE w.deleted_at IS NULL
