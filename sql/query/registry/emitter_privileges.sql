-- The statements that give roles $1 what emitters need, and take it from those that are none any more and have no level
-- that it comes with. USAGE on the extension's schema is taken only where it was given for this; what a role has of it by
-- another one would end with its membership.
-- Dropped roles are forgotten.
WITH dropped AS (
    DELETE FROM webhook.emitter WHERE role::oid NOT IN (SELECT r.oid FROM pg_roles AS r)
), role AS (
    SELECT
        r.oid,
        r.rolname::text AS name,
        EXISTS (SELECT FROM webhook.heard AS h WHERE h.role = r.oid) AS named,
        l.level
    FROM pg_roles AS r
    LEFT JOIN webhook.level AS l ON l.role::oid = r.oid
    WHERE r.oid = ANY ($1)
), home AS (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl, e.oid AS extension
    FROM pg_extension AS e
    JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_webhook'
), given AS (
    INSERT INTO webhook.emitter (role)
    SELECT role.oid
    FROM role
    CROSS JOIN home
    WHERE role.named AND NOT EXISTS (
        SELECT FROM aclexplode(coalesce(home.nspacl, acldefault('n', home.nspowner))) AS a
        WHERE a.grantee IN (0, role.oid) AND a.privilege_type = 'USAGE'
    )
    ON CONFLICT DO NOTHING
    RETURNING emitter.role
), taken AS (
    DELETE FROM webhook.emitter AS e
    USING role
    WHERE e.role::oid = role.oid AND NOT role.named
    RETURNING role.oid, role.name, role.level IS NOT NULL AS has_level
), kept AS (
    -- It goes with the level from now on.
    UPDATE webhook.level AS l SET schema_usage = true FROM taken WHERE l.role::oid = taken.oid
)
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', home.nspname, role.name)
FROM given
JOIN role ON role.oid = given.role::oid
CROSS JOIN home
UNION ALL
SELECT format('REVOKE USAGE ON SCHEMA %I FROM %I', home.nspname, taken.name)
FROM taken
CROSS JOIN home
WHERE NOT taken.has_level
UNION ALL
SELECT format(
    CASE WHEN role.named THEN 'GRANT EXECUTE ON FUNCTION %s TO %I' ELSE 'REVOKE EXECUTE ON FUNCTION %s FROM %I' END,
    p.oid::regprocedure, role.name
)
FROM role
CROSS JOIN home
JOIN pg_depend AS d
    ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = home.extension AND d.deptype = 'e'
    AND d.classid = 'pg_proc'::regclass
JOIN pg_proc AS p ON p.oid = d.objid AND p.proname = 'webhook_emit'
WHERE role.named OR coalesce(role.level NOT IN ('member', 'admin'), true)
