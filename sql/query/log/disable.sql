-- An endpoint has answered 410: it does not want to be called again. Whoever is changing its
-- webhook at this moment is not waited for: it will answer 410 again.
UPDATE webhook.webhook SET enabled = false, updated_at = now()
WHERE id IN (
    SELECT w.id FROM webhook.webhook AS w WHERE w.id = ANY ($1) AND w.enabled FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING name
