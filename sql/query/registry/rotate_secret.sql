-- The secret of webhook $1 becomes $2, and that before it signs for the interval $3 as well.
INSERT INTO webhook.secret AS s (webhook, signing_key, headers)
VALUES ($1, $2, '{}')
ON CONFLICT (webhook) DO UPDATE SET
    signing_key = $2,
    previous_key = s.signing_key,
    previous_until = now() + $3
