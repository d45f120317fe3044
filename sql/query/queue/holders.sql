-- Who keeps others from writing to the backlog, or may have locked rows of it; or, where $1, from any of our tables, or keeps
-- the schema to drop it.
SELECT string_agg(h.holder, ', ' ORDER BY h.holder) AS holders
FROM (
    SELECT DISTINCT
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
          ELSE l.relation = 'webhook.pending'::regclass AND l.mode <> 'AccessShareLock'
      END
      AND l.pid IS DISTINCT FROM pg_backend_pid()
    ORDER BY 1
    LIMIT 5
) AS h
