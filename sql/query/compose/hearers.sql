-- Webhook $1, and those that may hear of it: whose owner may see it, and that name events of ours.
SELECT a.name, a.uuid::text AS uuid, h.id AS hearer, h.event_types
FROM webhook.owned AS a
LEFT JOIN LATERAL (
    SELECT w.id, w.event_types
    FROM webhook.owned AS w
    WHERE w.id <> a.id
      AND w.deleted_at IS NULL
      AND w.enabled
      AND w.role IS NOT NULL
      AND EXISTS (SELECT FROM unnest(w.event_types) AS e (pattern) WHERE starts_with(e.pattern, 'pg_webhook.'))
      AND webhook.sees(w.role, a.role)
) AS h ON true
WHERE a.id = $1 AND a.deleted_at IS NULL
