-- Whoever else is about to take this name waits until the transaction ends.
SELECT pg_advisory_xact_lock('webhook.webhook'::regclass::oid::integer, hashtext($1))
