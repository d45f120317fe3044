-- Events of the slow lane that have been attempted and failed.
UPDATE webhook.pending AS p SET
    -- One that has been cancelled meanwhile stays where it is.
    next_at = CASE WHEN p.next_at < 'infinity' THEN u.next_at ELSE p.next_at END,
    first_attempt_at = u.first_attempt_at,
    attempts = u.attempts,
    status_code = u.status_code,
    duration_us = u.duration_us,
    error = u.error,
    response_body = u.response_body
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS u (
    id, next_at, first_attempt_at, attempts, status_code, duration_us, error, response_body
)
WHERE p.id = u.id
