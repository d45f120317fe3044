-- Who keeps others from writing to the backlog, or may have locked rows of it; or, where $1, from any of our tables, or keeps
-- the schema to drop it.
SELECT string_agg(DISTINCT h.holder, ', ' ORDER BY h.holder) AS holders, max(h.name) AS name
FROM (
    SELECT DISTINCT
        l.relation::regclass::text AS name,
        CASE
            WHEN l.pid IS NULL THEN 'a prepared transaction'
            ELSE format('process %s of role %s, in a transaction since %s', l.pid, a.usename, date_trunc('second', a.xact_start))
        END AS holder
    FROM pg_locks AS l
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.granted
      AND CASE
          WHEN l.locktype = 'object' THEN
              $1 AND l.classid = 'pg_namespace'::regclass AND l.objid = 'webhook'::regnamespace AND l.mode = 'AccessExclusiveLock'
          WHEN l.locktype <> 'relation' THEN false
          WHEN $1 THEN
              l.relation IN (SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = 'webhook'::regnamespace)
              AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
          ELSE l.relation IN ('webhook.pending'::regclass, 'webhook.movement'::regclass) AND l.mode <> 'AccessShareLock'
      END
      AND l.pid IS DISTINCT FROM pg_backend_pid()
    ORDER BY 2
    LIMIT 5
) AS h
