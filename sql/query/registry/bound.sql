-- So many events of webhooks $1 have become dead letters by a bound, and so many dead letters have ended by one.
INSERT INTO webhook.health AS h (webhook, shed, expired, bound, bound_at)
SELECT u.webhook, u.shed, u.expired, u.bound, now()
FROM unnest($1, $2, $3, $4) AS u (webhook, shed, expired, bound)
JOIN webhook.webhook AS w ON w.id = u.webhook AND w.deleted_at IS NULL
ON CONFLICT (webhook) DO UPDATE SET
    shed = h.shed + excluded.shed,
    expired = h.expired + excluded.expired,
    bound = excluded.bound,
    bound_at = excluded.bound_at
