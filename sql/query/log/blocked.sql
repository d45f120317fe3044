-- Why the ring does not rotate; NULL: it does.
UPDATE webhook.ring SET blocked = $1, blocked_at = CASE WHEN $1 IS NOT NULL THEN coalesce(blocked_at, now()) END
WHERE blocked IS DISTINCT FROM $1
