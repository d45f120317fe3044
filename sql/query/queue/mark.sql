-- The worker is there; its clock shows $1 and has been set by $2 microseconds. Where nothing waits nobody will ask, and
-- nothing is written.
UPDATE webhook.cursor AS k SET at = $1, step = $2
WHERE k.step <> $2
    OR EXISTS (
        SELECT
        FROM webhook.webhook AS w
        CROSS JOIN LATERAL (
            SELECT FROM webhook.pending AS q WHERE q.webhook = w.id AND q.next_at < 'infinity' ORDER BY q.next_at LIMIT 1
        ) AS p
        WHERE w.deleted_at IS NULL
    )
