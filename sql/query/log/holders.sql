-- Who holds a lock on the tables of the slot that comes next of $1, if anybody does; and how large the log is.
SELECT
    (
        SELECT string_agg(h.holder, ', ' ORDER BY h.holder)
        FROM (
            SELECT DISTINCT
                CASE
                    WHEN g.gid IS NOT NULL THEN format('prepared transaction %L of %s', g.gid, date_trunc('second', g.prepared))
                    ELSE format('process %s of role %s, in a transaction since %s', l.pid, a.usename, date_trunc('second', a.xact_start))
                END AS holder
            FROM pg_locks AS l
            LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
            -- A prepared transaction keeps the virtual number that it had, and no process.
            LEFT JOIN pg_locks AS t
                ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = l.virtualtransaction
            LEFT JOIN pg_prepared_xacts AS g ON g.transaction = t.transactionid
            WHERE l.locktype = 'relation'
              AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
              AND l.granted
              AND l.pid IS DISTINCT FROM pg_backend_pid()
              AND l.relation IN (
                  format('webhook.event_%s', (r.slot + 1) % $1)::regclass, format('webhook.attempt_%s', (r.slot + 1) % $1)::regclass
              )
            ORDER BY 1
            LIMIT 5
        ) AS h
    ) AS holders,
    pg_size_pretty(s.size) AS size
FROM webhook.ring AS r
CROSS JOIN webhook.log_size AS s
