-- Endpoints have answered that they do not want to be called again. What happens is captured and waits. Whoever is changing such a
-- webhook at this moment is not waited for, and whoever has changed it since means another call than the one that was answered: it
-- will answer so again.
UPDATE webhook.webhook SET
    paused = true,
    paused_at = now(),
    paused_because = ($3)[array_position($1, id)],
    updated_at = now()
WHERE id IN (
    SELECT w.id
    FROM webhook.webhook AS w
    WHERE w.id = ANY ($1)
      AND w.updated_at = ($2)[array_position($1, w.id)]
      AND NOT w.paused
      AND w.deleted_at IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING name, paused_because
