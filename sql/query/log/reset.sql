-- What has been counted so far of the webhooks that role $1 manages, or of $2 where that is not null, counts for nothing from here on.
INSERT INTO webhook.metric_reset (
    webhook, reset_at, attempts, answered, delivered, dead, shed, expired, request_us, delivery_us, request_counts, delivery_counts
)
SELECT
    w.id, clock_timestamp(), m.attempts, m.answered, m.delivered, m.dead, h.shed, h.expired, m.request_us, m.delivery_us,
    m.request_counts, m.delivery_counts
FROM webhook.owned AS w
LEFT JOIN webhook.metric AS m ON m.webhook = w.id
LEFT JOIN webhook.health AS h ON h.webhook = w.id
WHERE w.deleted_at IS NULL
  AND coalesce(w.id = $2, true)
  AND webhook.manages($1, w.role)
