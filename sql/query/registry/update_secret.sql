UPDATE webhook.secret SET
    signing_key = coalesce($2, signing_key),
    headers = coalesce($3, headers)
WHERE webhook = $1
