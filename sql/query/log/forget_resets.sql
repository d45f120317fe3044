-- Resets before the last one of the webhooks that role $1 manages, or of $2 where that is not null. What somebody else is about to
-- forget is left alone.
DELETE FROM webhook.metric_reset AS r
USING (
    SELECT o.webhook, o.reset_at
    FROM webhook.metric_reset AS o
    JOIN webhook.owned AS w ON w.id = o.webhook
    WHERE coalesce(w.id = $2, true)
      AND webhook.manages($1, w.role)
      AND EXISTS (SELECT FROM webhook.metric_reset AS n WHERE n.webhook = o.webhook AND n.reset_at > o.reset_at)
    FOR UPDATE OF o SKIP LOCKED
) AS old
WHERE r.webhook = old.webhook AND r.reset_at = old.reset_at
