-- Tables of ours, each with its name.
SELECT c.oid, format('webhook.%I', c.relname) AS name
FROM pg_class AS c
WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind IN ('r', 'p')
ORDER BY c.oid
