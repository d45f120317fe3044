-- Watch $1 is meant for its table under the name that it has now.
UPDATE webhook.watch AS v
SET schema_name = n.nspname::text, table_name = c.relname::text
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE v.id = $1 AND c.oid = v.relation AND (v.schema_name, v.table_name) IS DISTINCT FROM (n.nspname::text, c.relname::text)
