-- The table of these is in use: after 5 seconds it is tried again, then after twice as long each time, up to 10 minutes.
UPDATE webhook.doomed
SET tries = tries + 1, next_at = clock_timestamp() + least(5 * 2 ^ least(tries, 10), 600) * interval '1 second'
WHERE id = ANY ($1)
