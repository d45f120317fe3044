-- The clock has been set by $1 microseconds, or has gone on by $2 while nobody tried: what waits is due after as long as
-- before, and retries have lasted as long as before.
UPDATE webhook.pending AS p SET
    next_at = p.next_at + $1 * interval '1 microsecond',
    first_attempt_at = p.first_attempt_at + ($1 + $2) * interval '1 microsecond'
WHERE p.next_at < 'infinity'
  AND ($1 <> 0 OR p.first_attempt_at IS NOT NULL)
