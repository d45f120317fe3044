-- Schema and name of the table $1, unless it is only a type.
SELECT n.nspname::text AS schema_name, c.relname::text AS table_name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = $1 AND c.relkind <> 'c'
