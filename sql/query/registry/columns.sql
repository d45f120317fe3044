-- The types of the table's columns by name.
SELECT a.attname::text, a.atttypid
FROM pg_attribute AS a
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
