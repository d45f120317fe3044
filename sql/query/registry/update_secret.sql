-- NULL leaves a column as it is. A restored database has no row yet: dumps carry no secrets.
INSERT INTO webhook.secret AS s (webhook, signing_key, headers)
VALUES ($1, $2, coalesce($3, '{}'))
ON CONFLICT (webhook) DO UPDATE SET
    signing_key = coalesce($2, s.signing_key),
    headers = coalesce($3, s.headers)
