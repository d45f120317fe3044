-- The uuids of webhooks $1.
SELECT w.id, w.uuid FROM webhook.webhook AS w WHERE w.id = ANY ($1)
