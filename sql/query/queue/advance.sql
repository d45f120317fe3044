-- $1 is NULL where the worker is at work and the cursor stays. Its clock shows $2 and has been set by $3 microseconds.
UPDATE webhook.cursor SET snap = coalesce($1, snap), at = $2, step = $3
