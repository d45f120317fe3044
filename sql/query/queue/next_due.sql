-- For each webhook the earliest event that is not due, without dead letters.
SELECT w.id, (
    SELECT q.next_at
    FROM webhook.pending AS q
    WHERE q.webhook = w.id AND q.next_at > $2 AND q.next_at < 'infinity'
    ORDER BY q.next_at
    LIMIT 1
) AS next_at
FROM unnest($1) AS w (id)
