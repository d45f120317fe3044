-- NULL leaves a column as it is; a new secret ends a rotation. A restored database has no row yet: dumps
-- carry no secrets.
INSERT INTO webhook.secret AS s (webhook, signing_key, headers)
VALUES ($1, $2, coalesce($3, '{}'))
ON CONFLICT (webhook) DO UPDATE SET
    signing_key = coalesce($2, s.signing_key),
    headers = coalesce($3, s.headers),
    previous_key = CASE WHEN $2 IS NULL THEN s.previous_key END,
    previous_until = CASE WHEN $2 IS NULL THEN s.previous_until END
