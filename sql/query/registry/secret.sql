-- What nobody reads back of webhook $1, locked against other changes; and when it is now, and when an overlap that begins now
-- and lasts $2 is over.
SELECT
    s.ctid, s.signing_key, s.headers, s.previous_keys, s.previous_until, now() AS now, now() + $2 AS overlap_until
FROM webhook.secret AS s
WHERE s.webhook = $1
FOR UPDATE
