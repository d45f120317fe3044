-- The statements that give roles $1 what emitters need, and take it from those that are none any more and have no level
-- that it comes with. Only what was given for this is taken, and not what somebody has granted; what a role has by another
-- one would end with its membership, and is given all the same. Dropped roles are forgotten.
WITH dropped AS (
    DELETE FROM webhook.emitter WHERE role NOT IN (SELECT r.oid FROM pg_roles AS r)
), role AS (
    SELECT
        r.oid,
        r.rolname::text AS name,
        EXISTS (SELECT FROM webhook.heard AS h WHERE h.role = r.oid) AS named,
        l.level
    FROM pg_roles AS r
    LEFT JOIN webhook.held_level AS l ON l.role = r.oid
    WHERE r.oid = ANY ($1)
), home AS (
    SELECT
        n.nspname,
        coalesce(n.nspacl, acldefault('n', n.nspowner)) AS schema_rights,
        p.oid::regprocedure AS emit,
        coalesce(p.proacl, acldefault('f', p.proowner)) AS emit_rights
    FROM pg_extension AS e
    JOIN pg_namespace AS n ON n.oid = e.extnamespace
    JOIN pg_depend AS d
        ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        AND d.classid = 'pg_proc'::regclass
    JOIN pg_proc AS p ON p.oid = d.objid AND p.proname = 'webhook_emit'
    WHERE e.extname = 'pg_webhook'
), needed AS (
    SELECT
        role.oid,
        role.name,
        NOT EXISTS (
            SELECT FROM aclexplode(home.schema_rights) AS a
            WHERE a.grantee IN (0, role.oid) AND a.privilege_type = 'USAGE'
        ) AS schema_usage,
        NOT EXISTS (
            SELECT FROM aclexplode(home.emit_rights) AS a
            WHERE a.grantee IN (0, role.oid) AND a.privilege_type = 'EXECUTE'
        ) AS execute
    FROM role
    CROSS JOIN home
    WHERE role.named
), given AS (
    INSERT INTO webhook.emitter AS e (role, schema_usage, execute)
    SELECT needed.oid, needed.schema_usage, needed.execute
    FROM needed
    WHERE needed.schema_usage OR needed.execute
    ON CONFLICT (role) DO UPDATE SET
        schema_usage = e.schema_usage OR excluded.schema_usage,
        execute = e.execute OR excluded.execute
), taken AS (
    DELETE FROM webhook.emitter AS e
    USING role
    WHERE e.role = role.oid AND NOT role.named
    RETURNING role.oid, role.name, role.level, e.schema_usage, e.execute
), kept AS (
    -- It goes with the level from now on.
    UPDATE webhook.level AS l SET schema_usage = true
    FROM taken
    WHERE l.role = taken.oid AND taken.schema_usage AND taken.level IS NOT NULL
)
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', home.nspname, needed.name) AS statement
FROM needed
CROSS JOIN home
WHERE needed.schema_usage
UNION ALL
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', home.emit, needed.name)
FROM needed
CROSS JOIN home
WHERE needed.execute
UNION ALL
SELECT format('REVOKE USAGE ON SCHEMA %I FROM %I', home.nspname, taken.name)
FROM taken
CROSS JOIN home
WHERE taken.schema_usage AND taken.level IS NULL
UNION ALL
SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM %I', home.emit, taken.name)
FROM taken
CROSS JOIN home
WHERE taken.execute AND coalesce(taken.level NOT IN ('member', 'admin'), true)
