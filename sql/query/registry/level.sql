-- The name of role $1 and the level that it has.
SELECT r.rolname::text AS name, l.level
FROM pg_roles AS r
LEFT JOIN webhook.level AS l ON l.role = r.oid
WHERE r.oid = $1
