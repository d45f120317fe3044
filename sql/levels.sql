-- Who may see and manage what.

-- From here on nothing is made in the extension's schema, where others may have planted operators that
-- suit the operands of a view better than PostgreSQL's own.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE webhook.level (
    id           uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    -- 0 for one that was missing when a dump was restored: see dump.sql
    role         oid NOT NULL,
    -- what the role was called when it got its level; in a dump, what it is called
    name         text NOT NULL,
    level        text NOT NULL,
    -- USAGE on the extension's schema came with the level, and goes with it.
    schema_usage boolean NOT NULL
);
CREATE UNIQUE INDEX level_role_key ON webhook.level (role) WHERE role <> 0;
COMMENT ON TABLE webhook.level IS 'private: the levels of roles; the privileges that come with them do the work';

-- A level that DROP OWNED has taken the privileges of is none. All levels come with SELECT on
-- webhook.webhooks.
CREATE VIEW webhook.held_level AS
SELECT l.*
FROM webhook.level AS l
WHERE l.role <> 0
  AND EXISTS (
      SELECT
      FROM pg_catalog.pg_class AS c
      CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
      WHERE c.relname = 'webhooks'
        AND c.relnamespace = 'webhook'::regnamespace
        AND a.grantee = l.role
        AND a.privilege_type = 'SELECT'
  );
COMMENT ON VIEW webhook.held_level IS 'private: the levels whose privileges the roles still have';

CREATE VIEW webhook.administrator AS
SELECT n.nspowner AS role FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'webhook'
UNION ALL
SELECT l.role FROM webhook.held_level AS l WHERE l.level = 'admin';
COMMENT ON VIEW webhook.administrator IS
    'private: the roles that manage all webhooks: the extension''s owner, and those whose level is admin';

CREATE VIEW webhook.monitor AS
SELECT l.role FROM webhook.held_level AS l WHERE l.level = 'monitor';
COMMENT ON VIEW webhook.monitor IS 'private: the roles that see all webhooks, but neither bodies nor answers, and manage none';

-- The rules of webhook.visible for a role that is given. The view says them itself, because it asks for its reader, and once for all
-- webhooks.
CREATE FUNCTION webhook.manages(caller oid, owner oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(pg_has_role(caller, owner, 'USAGE'), false)
        OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role(caller, l.role, 'USAGE'))
$$;
COMMENT ON FUNCTION webhook.manages IS
    'private: whether a role may manage the webhooks of another: as one that has its rights, or as an admin; owner may be null, where it is gone';

CREATE FUNCTION webhook.sees(caller oid, owner oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT webhook.manages(caller, owner)
        OR EXISTS (SELECT FROM webhook.monitor AS l WHERE pg_has_role(caller, l.role, 'USAGE'))
$$;
COMMENT ON FUNCTION webhook.sees IS 'private: whether a role may see the webhooks of another: to manage or to monitor them';

-- Not dumped: in another database what these roles have is as good as somebody's own grant.
CREATE TABLE webhook.emitter (
    role         oid PRIMARY KEY,
    -- USAGE on the extension's schema
    schema_usage boolean NOT NULL,
    -- EXECUTE on webhook_emit
    execute      boolean NOT NULL
);
COMMENT ON TABLE webhook.emitter IS
    'private: what roles got because a webhook names them among its emitters, and lose when none does';

CREATE VIEW webhook.heard AS
SELECT w.id AS webhook, r.oid AS role, r.rolname::text AS name
FROM webhook.webhook AS w
CROSS JOIN LATERAL pg_catalog.unnest(w.emitters) AS e (name)
LEFT JOIN webhook.emitter_role AS k ON k.webhook = w.id AND k.name = e.name
JOIN pg_catalog.pg_roles AS r ON CASE WHEN k.role IS NULL THEN r.rolname::text = e.name ELSE r.oid = k.role END
WHERE w.deleted_at IS NULL;
COMMENT ON VIEW webhook.heard IS
    'private: the roles that webhooks name among their emitters, by what they are called now; without those that are gone';

CREATE FUNCTION webhook.types_in(type oid) RETURNS SETOF oid
    -- So few that each is looked up: a session's first captured row would take longer with each type of the database.
    LANGUAGE sql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE part (type) AS (
        SELECT $1
        UNION
        SELECT inside.type
        FROM part AS p
        JOIN pg_type AS t ON t.oid = p.type
        CROSS JOIN LATERAL (
            SELECT t.typbasetype AS type WHERE t.typtype = 'd'
            UNION ALL
            SELECT t.typelem WHERE t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc
            UNION ALL
            SELECT a.atttypid
            FROM pg_attribute AS a
            WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS inside
    )
    SELECT part.type FROM part
$$;
COMMENT ON FUNCTION webhook.types_in IS 'private: a type, and those in it: of a domain, an array, a composite type';

CREATE VIEW webhook.owner_role AS
SELECT y.typname AS anchor, y.oid AS type, y.typowner AS role, o.confirmed
FROM pg_catalog.pg_type AS y
LEFT JOIN webhook.owner AS o ON o.anchor = y.typname
WHERE y.typnamespace = 'webhook'::regnamespace
  -- All that begin with this: in the order of names a backquote follows an underscore.
  AND y.typname >= 'owner_'::name
  AND y.typname < 'owner`'::name
  AND coalesce(o.type = y.oid, true)
  -- Its owner may change and rename it, and gives up by that what it stands for.
  AND y.typtype = 'd'
  AND y.typbasetype = 'boolean'::regtype
  AND y.typdefault IS NULL
  AND y.typdefaultbin IS NULL
  AND NOT y.typnotnull
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.contypid = y.oid);
COMMENT ON VIEW webhook.owner_role IS 'private: the roles that webhooks belong to';

CREATE VIEW webhook.owned AS
SELECT
    w.*,
    r.role,
    -- Not where a dump has ended up with another role: what was chosen with the rights of one must not run with those of
    -- the other, before somebody who has these says so.
    coalesce(r.confirmed, pg_catalog.pg_get_userbyid(r.role)::text = w.owner_name, false) AS confirmed
FROM webhook.webhook AS w
LEFT JOIN webhook.owner_role AS r ON r.anchor = w.owner;
COMMENT ON VIEW webhook.owned IS 'private: webhooks, each with the role that it belongs to; none where that is gone';

CREATE VIEW webhook.visible WITH (security_barrier) AS
SELECT w.*
FROM (
    SELECT
        o.*,
        -- Bodies and answers, too: not for whoever monitors only.
        pg_catalog.pg_has_role(o.role, 'USAGE')
        OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_catalog.pg_has_role(l.role, 'USAGE')) AS with_contents
    FROM webhook.owned AS o
    -- Otherwise it is asked for twice.
    OFFSET 0
) AS w
WHERE w.with_contents
   OR EXISTS (SELECT FROM webhook.monitor AS l WHERE pg_catalog.pg_has_role(l.role, 'USAGE'))
-- No condition of the reader's is applied below this: see views.sql.
OFFSET 0;
COMMENT ON VIEW webhook.visible IS
    'private: the webhooks of roles that the reader is a member of, for an admin and whoever monitors them all of them';

CREATE VIEW webhook.numbered WITH (security_barrier) AS
SELECT w.*
FROM webhook.owned AS w
WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE')
   OR EXISTS (SELECT FROM webhook.visible AS v WHERE v.id = w.id)
OFFSET 0;
COMMENT ON VIEW webhook.numbered IS
    'private: the webhooks whose numbers the reader may see: those that it sees, and for members of pg_monitor all of them';
