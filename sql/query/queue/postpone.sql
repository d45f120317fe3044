-- Events of the slow lane that have been attempted and failed.
UPDATE webhook.pending AS p SET
    next_at = u.next_at,
    first_attempt_at = u.first_attempt_at,
    attempts = u.attempts
FROM unnest($1, $2, $3, $4) AS u (id, next_at, first_attempt_at, attempts)
WHERE p.id = u.id
