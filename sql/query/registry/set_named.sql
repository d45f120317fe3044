-- What the secrets of webhook $1 are called is $2; with $3 a configuration has made it.
UPDATE webhook.webhook SET named = $2, applied = applied OR $3 WHERE id = $1
