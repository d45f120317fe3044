-- Of webhooks $1 something has waited for $2 seconds or longer. Which of them are overdue by that: not those that send nothing because
-- somebody wants it so or before they are armed, nor one that has been changed or resumed within that time, which it has then to send
-- what waits. And which ones are no longer. Returns both, and whether it is news.
WITH late AS (
    SELECT w.id, coalesce(k.overdue, false) AS known
    FROM webhook.webhook AS w
    CROSS JOIN webhook.home AS h
    LEFT JOIN webhook.health AS k ON k.webhook = w.id
    WHERE w.id = ANY ($1)
      AND w.deleted_at IS NULL
      AND w.enabled
      AND (NOT w.paused OR w.paused_because IS NOT NULL)
      AND h.is_here
      AND w.installation = h.id
      AND w.updated_at <= now() - make_interval(secs => $2)
), begun AS (
    INSERT INTO webhook.health AS k (webhook, overdue)
    SELECT late.id, true FROM late WHERE NOT late.known
    ON CONFLICT (webhook) DO UPDATE SET overdue = true
), ended AS (
    UPDATE webhook.health AS k SET overdue = false
    WHERE k.overdue AND NOT EXISTS (SELECT FROM late WHERE late.id = k.webhook)
    RETURNING k.webhook
)
SELECT late.id AS webhook, true AS overdue, NOT late.known AS news FROM late
UNION ALL
SELECT ended.webhook, false, true FROM ended
