-- Who is the first now of keys $2 of webhooks $1, and of what is ordered with all keys of these.
SELECT n.delivery
FROM unnest($1, $2) AS u (webhook, key)
CROSS JOIN LATERAL (
    SELECT o.delivery
    FROM webhook.place AS o
    WHERE o.webhook = u.webhook AND o.key = u.key AND o.position IS NOT NULL
    ORDER BY o.position
    LIMIT 1
) AS n
UNION
SELECT n.delivery
FROM (SELECT DISTINCT u.webhook FROM unnest($1) AS u (webhook)) AS u
CROSS JOIN LATERAL (
    SELECT o.delivery
    FROM webhook.place AS o
    WHERE o.webhook = u.webhook AND o.key IS NULL AND o.position IS NOT NULL
    ORDER BY o.position
    LIMIT 1
) AS n
