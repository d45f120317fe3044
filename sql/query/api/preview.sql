-- The statement that makes a row of table $1 out of JSON.
SELECT format('SELECT pg_catalog.jsonb_populate_record(NULL::%I.%I, $1::jsonb) AS made', n.nspname, c.relname) AS statement
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = $1
