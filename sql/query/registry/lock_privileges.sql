-- Keeps others from changing privileges where those of roles $1 are going to be changed, and waits for those who are: the
-- server does not, and has the later one fail in the catalog ("tuple concurrently updated"). That is all that comes with
-- levels where $2, otherwise what emitters get; USAGE on the extension's schema where it is given or may be taken.
WITH member AS (
    SELECT d.classid, d.objid
    FROM pg_depend AS d
    JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), schema AS MATERIALIZED (
    SELECT n.oid
    FROM pg_namespace AS n
    WHERE $2 AND n.oid = 'webhook'::regnamespace
       OR n.oid IN (SELECT e.extnamespace FROM pg_extension AS e WHERE e.extname = 'pg_webhook')
          AND EXISTS (
              SELECT
              FROM unnest($1::oid[]) AS r (oid)
              WHERE r.oid IN (SELECT m.role FROM webhook.emitter AS m WHERE m.schema_usage)
                 OR r.oid IN (SELECT l.role FROM webhook.level AS l WHERE l.schema_usage)
                 OR NOT EXISTS (
                     SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
                     WHERE a.grantee IN (0, r.oid) AND a.privilege_type = 'USAGE'
                 )
          )
    ORDER BY n.oid
    FOR NO KEY UPDATE OF n
), function AS MATERIALIZED (
    SELECT p.oid
    FROM pg_proc AS p
    WHERE p.oid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_proc'::regclass)
      AND ($2 OR p.proname = 'webhook_emit')
    ORDER BY p.oid
    FOR NO KEY UPDATE OF p
), relation AS MATERIALIZED (
    SELECT c.oid
    FROM pg_class AS c
    WHERE $2 AND c.oid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_class'::regclass) AND c.relkind = 'v'
    ORDER BY c.oid
    FOR NO KEY UPDATE OF c
)
SELECT (SELECT count(*) FROM schema), (SELECT count(*) FROM function), (SELECT count(*) FROM relation)
