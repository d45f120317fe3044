-- Webhook $1, whether it is there to hear of others alone, and those that may hear of it: whose owner may see it, and that name events of
-- ours.
SELECT
    a.name,
    a.uuid::text AS uuid,
    a.event_types <> '{}'
        AND NOT EXISTS (SELECT FROM unnest(a.event_types) AS e (pattern) WHERE NOT starts_with(e.pattern, 'pg_webhook.'))
        AND NOT EXISTS (SELECT FROM webhook.watch AS v WHERE v.webhook = a.uuid) AS only_hears,
    h.id AS hearer,
    h.event_types
FROM webhook.owned AS a
LEFT JOIN LATERAL (
    SELECT w.id, w.event_types
    FROM (
        -- Before it is asked whose they are: there are few of these.
        SELECT c.id
        FROM webhook.webhook AS c
        WHERE c.id <> a.id
          AND c.deleted_at IS NULL
          AND c.enabled
          AND c.event_types <> '{}'
          AND EXISTS (SELECT FROM unnest(c.event_types) AS e (pattern) WHERE starts_with(e.pattern, 'pg_webhook.'))
        OFFSET 0
    ) AS c
    JOIN webhook.owned AS w ON w.id = c.id
    WHERE w.role IS NOT NULL AND webhook.sees(w.role, a.role)
) AS h ON true
WHERE a.id = $1 AND a.deleted_at IS NULL
