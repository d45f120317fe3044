-- Gives role $1 level $2. Remembers whether it needs USAGE on the extension's schema, which it may have
-- of its own. Levels of dropped roles are forgotten.
WITH dropped AS (
    DELETE FROM webhook.level
    WHERE CASE WHEN role = 0 THEN name = pg_get_userbyid($1)::text ELSE role NOT IN (SELECT r.oid FROM pg_roles AS r) END
)
INSERT INTO webhook.level AS l (role, name, level, schema_usage)
SELECT
    $1,
    pg_get_userbyid($1)::text,
    $2,
    NOT EXISTS (
        SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
        WHERE a.grantee IN (0, $1) AND a.privilege_type = 'USAGE'
    )
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_webhook'
ON CONFLICT (role) WHERE role <> 0 DO UPDATE SET
    level = excluded.level,
    schema_usage = excluded.schema_usage
        OR EXISTS (SELECT FROM webhook.held_level AS h WHERE h.role = l.role AND h.schema_usage)
