-- The tables of a webhook; those that have been dropped meanwhile are not listed.
SELECT w.relation::oid, format('%I.%I', n.nspname, c.relname), w.events, w.columns, w.condition, w.payload_columns
FROM webhook.watch AS w
JOIN pg_class AS c ON c.oid = w.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE w.webhook = $1
ORDER BY w.created_at, c.relname
