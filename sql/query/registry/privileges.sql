-- The statements that give role $1 what level $2 has of the extension's objects, and take the rest; for
-- NULL they take all. Functions are found by name, so that those of a later version are among them. Where $3, during an update, those
-- alone that give what the update has made: what somebody has granted or revoked by hand on anything else stays.
WITH member AS (
    SELECT d.classid, d.objid
    FROM pg_depend AS d
    JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), level (everybody, monitors, members, admins) AS (
    SELECT '{viewer,monitor,member,admin}'::text[], '{monitor,admin}'::text[], '{member,admin}'::text[], '{admin}'::text[]
), right_on (privilege, object, member, levels) AS (
    SELECT 'USAGE', 'SCHEMA webhook', NULL, k.everybody
    FROM level AS k
    UNION ALL
    SELECT 'USAGE', format('SCHEMA %I', n.nspname), NULL, k.everybody
    FROM level AS k
    CROSS JOIN webhook.level AS l
    JOIN pg_extension AS e ON e.extname = 'pg_webhook'
    JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE l.role = $1 AND l.schema_usage
    UNION ALL
    SELECT
        'SELECT',
        format('TABLE webhook.%I', c.relname),
        format('%s.%s', m.classid, m.objid),
        CASE c.relname WHEN 'unfinished' THEN k.admins WHEN 'workers' THEN k.monitors ELSE k.everybody END
    FROM level AS k
    CROSS JOIN member AS m
    JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    WHERE c.relnamespace = 'webhook'::regnamespace
      AND c.relname IN (
          'webhooks', 'deliveries', 'attempts', 'dead_letters', 'stats', 'metrics', 'jobs', 'worker', 'workers', 'unfinished'
      )
    UNION ALL
    SELECT
        'EXECUTE',
        format('FUNCTION %s', p.oid::regprocedure),
        format('%s.%s', m.classid, m.objid),
        CASE
            WHEN p.oid = f.worker OR p.proname IN ('webhook_check', 'webhook_export', 'webhook_help', 'webhook_log') THEN k.everybody
            WHEN p.oid = f.workers THEN k.monitors
            WHEN p.proname IN (
                'webhook_arm', 'webhook_grant', 'webhook_revoke', 'webhook_stop', 'webhook_start',
                'webhook_backlog_export', 'webhook_backlog_import'
            ) THEN k.admins
            ELSE k.members
        END
    FROM level AS k
    CROSS JOIN member AS m
    JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    -- what those who read views call by that
    CROSS JOIN (
        SELECT
            'webhook.worker_status()'::regprocedure::oid,
            'webhook.workers_status()'::regprocedure::oid
    ) AS f (worker, workers)
    WHERE p.oid IN (f.worker, f.workers)
       OR starts_with(p.proname::text, 'webhook_')
)
SELECT format(
    CASE WHEN $2 = ANY (right_on.levels) THEN 'GRANT %s ON %s TO %I' ELSE 'REVOKE %s ON %s FROM %I' END,
    right_on.privilege, right_on.object, r.rolname
) AS statement
FROM right_on
JOIN pg_roles AS r ON r.oid = $1
WHERE NOT $3
   OR $2 = ANY (right_on.levels)
      AND right_on.member <> ALL (string_to_array(current_setting('updating.members', true), ','))
