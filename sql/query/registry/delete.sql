-- The row stays as the name of its deliveries; whatever of them is not finished is cancelled by that.
-- Nor is its health removed, which the worker may be about to write: it would wait for this transaction.
WITH secret AS (
    DELETE FROM webhook.secret WHERE webhook = $1
), watch AS (
    DELETE FROM webhook.watch WHERE webhook = (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $1) RETURNING id
), watch_trigger AS (
    DELETE FROM webhook.watch_trigger AS t USING watch WHERE t.watch = watch.id
), watch_payload AS (
    DELETE FROM webhook.watch_payload AS p USING watch WHERE p.watch = watch.id
)
UPDATE webhook.webhook SET deleted_at = webhook.queue_time(), enabled = false, url = '', description = NULL WHERE id = $1
