-- Roles that were missing when a dump was restored, and are there now; levels of those that are not are forgotten.
WITH missing AS (
    DELETE FROM webhook.level AS l WHERE l.role = 0 RETURNING l.id, l.name, l.level, l.schema_usage
)
INSERT INTO webhook.level (id, role, name, level, schema_usage)
SELECT m.id, r.oid, m.name, m.level, m.schema_usage
FROM missing AS m
JOIN pg_roles AS r ON r.rolname::text = m.name
ON CONFLICT DO NOTHING
