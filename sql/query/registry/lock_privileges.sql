-- Keeps others from changing privileges on what ours are on, and waits for those who are: the server does not, and has the
-- later one fail in the catalog ("tuple concurrently updated").
WITH member AS (
    SELECT d.classid, d.objid
    FROM pg_depend AS d
    JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), schema AS MATERIALIZED (
    SELECT n.oid
    FROM pg_namespace AS n
    WHERE n.oid = 'webhook'::regnamespace
       OR n.oid IN (SELECT e.extnamespace FROM pg_extension AS e WHERE e.extname = 'pg_webhook')
    ORDER BY n.oid
    FOR NO KEY UPDATE OF n
), function AS MATERIALIZED (
    SELECT p.oid
    FROM pg_proc AS p
    WHERE p.oid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_proc'::regclass)
    ORDER BY p.oid
    FOR NO KEY UPDATE OF p
), relation AS MATERIALIZED (
    SELECT c.oid
    FROM pg_class AS c
    WHERE c.oid IN (SELECT m.objid FROM member AS m WHERE m.classid = 'pg_class'::regclass) AND c.relkind = 'v'
    ORDER BY c.oid
    FOR NO KEY UPDATE OF c
)
SELECT (SELECT count(*) FROM schema), (SELECT count(*) FROM function), (SELECT count(*) FROM relation)
