-- Role $3 pauses the webhook, or lets it go on. Who pauses one that somebody has paused changes nothing.
UPDATE webhook.webhook SET
    paused = $2,
    paused_at = CASE WHEN NOT $2 THEN NULL WHEN paused_by IS NOT NULL THEN paused_at ELSE now() END,
    paused_by = CASE WHEN $2 THEN coalesce(paused_by, $3) END,
    paused_because = NULL,
    updated_at = now()
WHERE id = $1
