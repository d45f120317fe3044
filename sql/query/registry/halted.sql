-- The live webhooks that somebody keeps from sending.
SELECT w.id, w.enabled, w.paused_because, w.paused_by
FROM webhook.webhook AS w
WHERE w.deleted_at IS NULL AND (w.paused OR NOT w.enabled)
