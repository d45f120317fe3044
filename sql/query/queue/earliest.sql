-- When the first of all that waits is due, or was.
SELECT min(p.next_at) AS next_at
FROM webhook.webhook AS w
CROSS JOIN LATERAL (
    SELECT q.next_at
    FROM webhook.pending AS q
    WHERE q.webhook = w.id AND q.next_at < 'infinity'
    ORDER BY q.next_at
    LIMIT 1
) AS p
WHERE w.deleted_at IS NULL
