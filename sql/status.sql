-- Where deliveries stand, and what keeps them from being sent. Private: for all webhooks, whoever asks.

CREATE VIEW webhook.delivery AS
SELECT
    d.id,
    d.xid,
    d.webhook,
    coalesce(d.event_id, pg_catalog.format('evt_%s_%s', (SELECT i.id FROM webhook.installation AS i), d.id)) AS event_id,
    d.event_type,
    d.schema_name,
    d.table_name,
    d.payload,
    d.failure,
    CASE
        WHEN a.verdict = 'delivered' THEN 'delivered'
        -- Before the cursor and not in the backlog: it was under way already.
        WHEN c.how = 'cancelled' AND (p.id IS NOT NULL OR NOT s.behind) THEN 'cancelled'
        WHEN a.verdict = 'dead' OR p.next_at = 'infinity' OR d.failure IS NOT NULL THEN 'dead'
        WHEN w.deleted_at IS NOT NULL THEN 'cancelled'
        WHEN p.attempts > 0 THEN 'retrying'
        -- Before the cursor and nowhere else: delivered, and not logged.
        WHEN p.id IS NULL AND s.behind THEN 'delivered'
        ELSE 'pending'
    END AS status,
    coalesce(a.attempt, p.attempts, 0) AS attempts,
    coalesce(a.status_code, p.status_code) AS status_code,
    coalesce(a.response_body, p.response_body) AS response_body,
    pg_catalog.round(coalesce(a.duration_us, p.duration_us) / 1000.0, 3) AS latency_ms,
    coalesce(a.error, p.error, d.failure) AS error,
    d.created_at,
    CASE WHEN w.deleted_at IS NULL AND c.delivery IS NULL THEN nullif(p.next_at, 'infinity') + s.step END AS next_attempt_at,
    CASE
        WHEN a.verdict = 'delivered' THEN a.started_at + pg_catalog.make_interval(secs => a.duration_us / 1e6)
    END AS delivered_at
FROM (
    SELECT e.id, e.xid, e.webhook, e.event_id, e.event_type, e.schema_name, e.table_name, e.payload, e.failure, e.created_at
    FROM webhook.event AS e
    UNION ALL
    -- what has outlived its slot of the ring
    SELECT q.id, q.xid, q.webhook, q.event_id, q.event_type, q.schema_name, q.table_name, q.payload, q.failure, q.created_at
    FROM webhook.pending AS q
    WHERE NOT EXISTS (SELECT FROM webhook.event AS e WHERE e.xid = q.xid AND e.id = q.id)
) AS d
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.pg_visible_in_snapshot(d.xid, (SELECT k.snap FROM webhook.cursor AS k)) AS behind,
        (SELECT k.step * interval '1 microsecond' FROM webhook.cursor AS k) AS step
) AS s
JOIN webhook.webhook AS w ON w.id = d.webhook
-- A delivery that is finished has one attempt that says so; one that waits is in the backlog.
LEFT JOIN webhook.attempt AS a ON a.delivery = d.id AND a.xid = d.xid AND a.verdict <> 'retry'
LEFT JOIN webhook.pending AS p ON p.id = d.id AND p.xid = d.xid
LEFT JOIN webhook.closed AS c ON c.delivery = d.id AND c.xid = d.xid
-- what has been written once more under another id counts once
WHERE c.how IS DISTINCT FROM 'renewed';
COMMENT ON VIEW webhook.delivery IS 'private: all deliveries, each with its status';

CREATE VIEW webhook.dead AS
SELECT
    p.id, p.xid, p.webhook, p.event_id, p.event_type, p.schema_name, p.table_name, p.payload, p.failure,
    p.attempts, p.status_code, p.response_body, p.duration_us, p.error, p.created_at
FROM webhook.pending AS p
WHERE p.next_at = 'infinity'
UNION ALL
-- whose transform has failed, and that the worker has not come to
SELECT
    e.id, e.xid, e.webhook, e.event_id, e.event_type, e.schema_name, e.table_name, e.payload, e.failure,
    0, 0::smallint, NULL, 0, e.failure, e.created_at
FROM webhook.cursor AS k
JOIN webhook.event AS e
    ON e.xid >= pg_catalog.pg_snapshot_xmin(k.snap)
    AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, k.snap)
WHERE e.failure IS NOT NULL
  AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = e.id AND p.xid = e.xid);
COMMENT ON VIEW webhook.dead IS 'private: dead letters of all webhooks, those that somebody has replayed or cancelled among them';

CREATE VIEW webhook.backlog AS
SELECT d.webhook, pg_catalog.count(*) AS count, pg_catalog.min(d.created_at) AS oldest
FROM (
    SELECT p.webhook, p.id, p.xid, p.created_at
    FROM webhook.pending AS p
    WHERE p.next_at < 'infinity'
    UNION ALL
    -- Events that have neither been tried nor moved to the backlog are after the cursor.
    SELECT e.webhook, e.id, e.xid, e.created_at
    FROM webhook.cursor AS k
    JOIN webhook.event AS e
        ON e.xid >= pg_catalog.pg_snapshot_xmin(k.snap)
        AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, k.snap)
    WHERE e.failure IS NULL
      AND NOT EXISTS (SELECT FROM webhook.attempt AS a WHERE a.delivery = e.id AND a.xid = e.xid)
      AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = e.id AND p.xid = e.xid)
) AS d
WHERE NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = d.id AND c.xid = d.xid)
GROUP BY d.webhook;
COMMENT ON VIEW webhook.backlog IS 'private: what is to be sent, of all webhooks';

-- What is not finished: as webhook_backlog_export returns it, which is a promise.
CREATE VIEW webhook.unfinished WITH (security_barrier) AS
SELECT
    w.uuid AS webhook,
    d.id,
    d.xid AS transaction,
    coalesce(d.event_id, pg_catalog.format('evt_%s_%s', (SELECT i.id FROM webhook.installation AS i), d.id)) AS event_id,
    d.event_type,
    d.schema_name,
    d.table_name,
    d.payload,
    d.failure,
    d.created_at,
    nullif(d.next_at, 'infinity') AS next_attempt_at,
    d.first_attempt_at,
    d.attempts,
    d.status_code,
    d.duration_us,
    d.error,
    d.response_body,
    d.key
FROM (
    SELECT
        p.id, p.xid, p.webhook, p.event_id, p.event_type, p.schema_name, p.table_name, p.payload, p.failure, p.created_at,
        p.next_at + k.step * interval '1 microsecond' AS next_at,
        -- less what nobody has tried it in: see src/domain/timeline.rs
        p.first_attempt_at + k.step * interval '1 microsecond' + coalesce(
            -- An infinite time cannot be subtracted before PostgreSQL 17.
            CASE WHEN p.next_at < 'infinity' THEN (
                SELECT pg_catalog.sum(a.ended - greatest(a.began, p.next_at))
                FROM webhook.absence AS a
                WHERE a.ended - greatest(a.began, p.next_at) > interval '10 seconds'
            ) END,
            interval '0'
        ) AS first_attempt_at,
        p.attempts, p.status_code, p.duration_us, p.error, p.response_body, p.key
    FROM webhook.pending AS p
    CROSS JOIN webhook.cursor AS k
    UNION ALL
    -- what the worker has not come to
    SELECT
        e.id, e.xid, e.webhook, e.event_id, e.event_type, e.schema_name, e.table_name, e.payload, e.failure, e.created_at,
        CASE WHEN e.failure IS NULL THEN e.created_at ELSE 'infinity' END, NULL, 0, NULL, NULL, e.failure, NULL, e.key
    FROM webhook.cursor AS k
    JOIN webhook.event AS e
        ON e.xid >= pg_catalog.pg_snapshot_xmin(k.snap)
        AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, k.snap)
    WHERE e.event_type <> 'TEST'
      AND NOT EXISTS (
          SELECT FROM webhook.attempt AS a WHERE a.delivery = e.id AND a.xid = e.xid AND a.verdict <> 'retry'
      )
      AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = e.id AND p.xid = e.xid)
) AS d
JOIN webhook.webhook AS w ON w.id = d.webhook AND w.deleted_at IS NULL
WHERE NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = d.id AND c.xid = d.xid)
  AND EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_catalog.pg_has_role(l.role, 'USAGE'));
COMMENT ON VIEW webhook.unfinished IS 'private: the rows of webhook_backlog_export, for an admin';
CREATE VIEW webhook.home AS
SELECT i.id, i.since, h.is_database, h.is_server, h.is_database AND h.is_server AS is_here
FROM webhook.installation AS i
CROSS JOIN LATERAL (
    SELECT
        webhook.is_database(i.system_identifier, i.database) AS is_database,
        i.server = coalesce(pg_catalog.current_setting('pg_webhook.server', true), '') AS is_server
    OFFSET 0
) AS h;
COMMENT ON VIEW webhook.home IS 'private: the installation, and whether it is that of this database and of this server';

CREATE VIEW webhook.function_schema AS
SELECT pg_catalog.quote_ident(n.nspname) AS name
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_webhook';
COMMENT ON VIEW webhook.function_schema IS
    'private: the schema of our functions, with which a hint has to name them: who follows it may find another one without';

CREATE VIEW webhook.unarmed AS
SELECT
    w.id AS webhook,
    'error' AS severity,
    CASE
        WHEN NOT h.is_database THEN 'unarmed: the database is a copy of the one that the webhook was made in'
        WHEN NOT h.is_server THEN 'unarmed: pg_webhook.server is not as it was when the database was armed'
        ELSE 'unarmed: the webhook came with a dump of another database'
    END AS problem,
    pg_catalog.format(
        'Nothing is sent. %1$s.webhook_arm() lets it send what has happened here since. Where the original is gone,'
        ' %1$s.webhook_arm(keep => true) lets it go on with all that waits.',
        f.name
    ) AS hint
FROM webhook.webhook AS w
CROSS JOIN webhook.home AS h
CROSS JOIN webhook.function_schema AS f
WHERE w.deleted_at IS NULL AND NOT (h.is_here AND w.installation = h.id);
COMMENT ON VIEW webhook.unarmed IS 'private: the webhooks that do not send before webhook_arm, and why';

CREATE VIEW webhook.log_size AS
SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(i.inhrelid))::bigint AS size
FROM pg_catalog.pg_inherits AS i
WHERE i.inhparent IN ('webhook.event'::regclass, 'webhook.attempt'::regclass);
COMMENT ON VIEW webhook.log_size IS 'private: the bytes that the ring and the attempts in it take';

CREATE VIEW webhook.log_problem AS
SELECT c.relowner AS owner, 'warning' AS severity, p.problem, p.hint
FROM pg_catalog.pg_class AS c
CROSS JOIN webhook.log_size AS s
-- Without the LIMIT the planner expects a thousand rows of a table without statistics, for which JIT compiles the whole query that
-- asks, and takes seconds.
CROSS JOIN (SELECT k.blocked, k.blocked_at FROM webhook.ring AS k LIMIT 1) AS r
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.pg_size_pretty(s.size) AS pretty,
        pg_catalog.current_setting('pg_webhook.log_max_size', true) AS most
) AS t
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.format(
            'the log is not cut since %s, and takes %s: %s', pg_catalog.date_trunc('second', r.blocked_at), t.pretty, r.blocked
        ) AS problem,
        'It goes on when the transactions have ended that hold it up: pg_terminate_backend ends a session, ROLLBACK PREPARED'
        ' a prepared transaction.' AS hint
    WHERE r.blocked IS NOT NULL
    UNION ALL
    -- While the log is cut it is up to an eighth larger than it may be; as much again is a problem.
    SELECT
        pg_catalog.format('the log takes %s, and pg_webhook.log_max_size is %s', t.pretty, t.most),
        'It holds events that are not settled, or events come faster than it is cut.'
    WHERE s.size > 1.25 * pg_catalog.pg_size_bytes(t.most)
) AS p
WHERE c.oid = 'webhook.ring'::regclass;
COMMENT ON VIEW webhook.log_problem IS 'private: what keeps the log from being cut';
