-- $1 is NULL where the worker is at work and the cursor stays.
UPDATE webhook.cursor SET snap = coalesce($1, snap), at = now()
