-- What CREATE EXTENSION makes, and that it is all described.
CREATE EXTENSION pg_webhook;

SELECT extversion, extrelocatable FROM pg_extension WHERE extname = 'pg_webhook';

SELECT p.oid::regprocedure AS function, p.prosecdef AS definer, p.proconfig
FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
ORDER BY p.oid::regprocedure::text COLLATE "C";

SELECT c.relname, c.relkind
FROM pg_class AS c
WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
ORDER BY c.relname COLLATE "C";

\d webhook.webhooks
\d webhook.deliveries
\d webhook.attempts
\d webhook.dead_letters
\d webhook.stats
\d webhook.metrics
\d webhook.worker

-- Everything that a user may meet says what it is.
SELECT p.oid::regprocedure AS undescribed FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
WHERE obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.relname AS undescribed FROM pg_class AS c
WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
  AND obj_description(c.oid, 'pg_class') IS NULL;

SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'pg\_webhook.%' ORDER BY name COLLATE "C";
SET pg_webhook.typo = 1;

-- Where the schema is taken, the extension does not move in.
DROP EXTENSION pg_webhook;
CREATE SCHEMA webhook;
-- From 18 on the context of an error has the line of the script.
\set SHOW_CONTEXT never
CREATE EXTENSION pg_webhook;
\set SHOW_CONTEXT errors
DROP SCHEMA webhook;

-- Functions go where CREATE EXTENSION says.
CREATE SCHEMA hooks;
CREATE EXTENSION pg_webhook SCHEMA hooks;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'hooks'::regnamespace;
DROP EXTENSION pg_webhook;
DROP SCHEMA hooks;
