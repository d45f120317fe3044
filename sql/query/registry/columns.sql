-- The table's columns by name, and whether the value is computed when it is read, as a virtual generated column's is
-- (PostgreSQL 18).
SELECT a.attname::text AS name, a.attgenerated = 'v' AS is_virtual
FROM pg_attribute AS a
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
