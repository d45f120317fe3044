-- The levels of roles $1, as far as they are there.
SELECT l.role, l.level
FROM webhook.level AS l
JOIN pg_roles AS r ON r.oid = l.role
WHERE l.role = ANY ($1)
