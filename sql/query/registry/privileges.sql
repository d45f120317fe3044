-- The statements that give role $1 what level $2 has of the extension's objects, and take the rest; for
-- NULL they take all. Functions are found by name, so that those of a later version are among them.
WITH member AS (
    SELECT d.classid, d.objid
    FROM pg_depend AS d
    JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), right_on (privilege, object, from_level) AS (
    SELECT 'USAGE', 'SCHEMA webhook', 'viewer'
    UNION ALL
    SELECT 'USAGE', format('SCHEMA %I', n.nspname), 'viewer'
    FROM webhook.level AS l
    JOIN pg_extension AS e ON e.extname = 'pg_webhook'
    JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE l.role = $1 AND l.schema_usage
    UNION ALL
    SELECT
        'SELECT',
        format('TABLE webhook.%I', c.relname),
        CASE WHEN c.relname IN ('workers', 'unfinished') THEN 'admin' ELSE 'viewer' END
    FROM member AS m
    JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    WHERE c.relnamespace = 'webhook'::regnamespace
      AND c.relname IN (
          'webhooks', 'deliveries', 'attempts', 'dead_letters', 'stats', 'worker', 'workers', 'unfinished'
      )
    UNION ALL
    SELECT
        'EXECUTE',
        format('FUNCTION %s', p.oid::regprocedure),
        CASE
            WHEN p.oid = k.worker OR p.proname IN ('webhook_check', 'webhook_log') THEN 'viewer'
            WHEN p.oid = k.workers THEN 'admin'
            WHEN p.proname IN (
                'webhook_arm', 'webhook_grant', 'webhook_revoke', 'webhook_backlog_export', 'webhook_backlog_import'
            ) THEN 'admin'
            ELSE 'member'
        END
    FROM member AS m
    JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    -- what those who read views call by that
    CROSS JOIN (
        SELECT
            'webhook.worker_status()'::regprocedure::oid,
            'webhook.workers_status()'::regprocedure::oid
    ) AS k (worker, workers)
    WHERE p.oid IN (k.worker, k.workers)
       OR starts_with(p.proname::text, 'webhook_')
), ranked (levels) AS (
    SELECT ARRAY['viewer', 'member', 'admin']
)
SELECT format(
    CASE
        WHEN array_position(levels, $2) >= array_position(levels, right_on.from_level)
            THEN 'GRANT %s ON %s TO %I'
        ELSE 'REVOKE %s ON %s FROM %I'
    END,
    right_on.privilege, right_on.object, r.rolname
) AS statement
FROM right_on
CROSS JOIN ranked
JOIN pg_roles AS r ON r.oid = $1
