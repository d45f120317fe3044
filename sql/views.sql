-- The log and the settings as users see them. Each view shows what the reader may see, which is
-- what webhook.visible says; nothing in them is a secret. Whoever monitors only sees no bodies and answers, nor what a transform has
-- said of a row, which is an error without an attempt.
--
-- PostgreSQL applies a reader's own conditions to rows that it may not see, too, where they are made of operators that tell
-- nothing of their values, and EXPLAIN ANALYZE says how many rows have passed: text is guessed letter by letter. So columns
-- with the texts of others are put into a CASE with a volatile function, which keeps conditions on them above the view;
-- webhook.visible keeps all of its own, and webhook.seen_by_reader has no other rows than its caller may see. Not those by which
-- rows are found: that there are others, and how many with which number or verdict, can be found out, and the uuids of webhooks,
-- which say nothing.

CREATE VIEW webhook.deliveries WITH (security_barrier) AS
SELECT
    d.id,
    d.webhook_id,
    d.webhook,
    coalesce(d.event_id, pg_catalog.format('evt_%s_%s', (SELECT i.id FROM webhook.installation AS i), d.id)) AS event_id,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.event_type END AS event_type,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.schema_name END AS schema_name,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.table_name END AS table_name,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND d.with_contents THEN nullif(d.payload, '') END AS payload,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND d.with_contents THEN nullif(d.payload, '')::json END AS payload_json,
    d.status,
    d.attempts,
    d.status_code,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND d.with_contents THEN d.response_body END AS response_body,
    pg_catalog.round(d.duration_us / 1000.0, 3) AS latency_ms,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.error_class END AS error_class,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND (d.with_contents OR d.attempts > 0) THEN d.error END AS error,
    d.created_at,
    d.next_attempt_at,
    d.delivered_at
FROM (
    SELECT
        l.id, l.webhook_id, w.name AS webhook, l.event_id, l.event_type, l.schema_name, l.table_name, l.payload,
        -- What waits is cancelled with its webhook.
        CASE WHEN w.deleted AND l.status IN ('pending', 'retrying', 'held') THEN 'cancelled' ELSE l.status END AS status,
        l.attempts, l.status_code, l.response_body, l.duration_us, l.error_class, l.error, l.created_at,
        CASE WHEN NOT w.deleted THEN l.next_at END AS next_attempt_at,
        l.delivered_at, w.with_contents, l.wide
    FROM webhook.listed AS l
    -- It is not safe for parallel workers, of which there have to be none: see webhook.listed.
    JOIN webhook.seen_by_reader() AS w ON w.uuid = l.webhook_id
    ORDER BY l.id DESC
) AS d
ORDER BY d.id DESC;
COMMENT ON VIEW webhook.deliveries IS
    'one row per event and webhook; status is pending, retrying, held, delivered, dead or cancelled. Fast at any size, for whoever sees most of them: the newest (ORDER BY id DESC LIMIT ..), those of a webhook_id as well, and one by its id. All else reads all of them: see webhook_log';

CREATE VIEW webhook.attempts WITH (security_barrier) AS
SELECT
    a.delivery AS delivery_id,
    a.webhook_id,
    w.name AS webhook,
    a.attempt,
    CASE WHEN a.batch IS NOT NULL THEN
        pg_catalog.format('bat_%s_%s', (SELECT i.id FROM webhook.installation AS i), a.batch)
    END AS batch_id,
    a.started_at,
    a.verdict,
    a.status_code,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND w.with_contents THEN a.response_body END AS response_body,
    pg_catalog.round(a.duration_us / 1000.0, 3) AS latency_ms,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN a.error_class END AS error_class,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND (w.with_contents OR a.attempt > 0) THEN a.error END AS error
FROM webhook.logged AS a
JOIN webhook.seen_by_reader() AS w ON w.uuid = a.webhook_id;
COMMENT ON VIEW webhook.attempts IS
    'one row per HTTP attempt; status_code is 0 where there was no answer, attempt is 0 where a transform had failed and there was no request. Fast at any size: those of a delivery_id, and those of a webhook_id whose verdict is not delivered';

CREATE VIEW webhook.webhooks WITH (security_barrier) AS
SELECT
    w.uuid AS id,
    w.name,
    w.url,
    w.description,
    w.enabled,
    t.tables,
    w.event_types,
    ARRAY(
        SELECT e.name COLLATE "default" FROM webhook.heard AS e WHERE e.webhook = w.id ORDER BY e.name
    ) AS emitters,
    w.format,
    w.signature,
    w.signature_header,
    (SELECT f.function FROM webhook.chosen_transform AS f WHERE f.webhook = w.id) AS transform,
    w.on_transform_error,
    (
        SELECT pg_catalog.jsonb_object_agg(h.name, CASE WHEN s.headers ? h.name THEN '***' END)
        FROM pg_catalog.unnest(w.header_names) AS h (name)
    ) AS headers,
    w.max_retries,
    w.timeout_seconds,
    w.retry_backoff_seconds,
    w.retry_for,
    w.max_concurrency,
    w.rate_limit,
    w.max_backlog,
    w.max_backlog_bytes,
    w.max_backlog_age,
    w.dead_letter_retention,
    w.disable_after,
    w.batch_size,
    w.batch_bytes,
    w.batch_wait,
    w.batch_format,
    w.ordering,
    w.order_key,
    w.on_failure,
    w.role::regrole AS owner,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN
        coalesce(
            ('{disabled,broken,stopped,unarmed,paused,failing}'::text[])[least(x.rank, CASE WHEN z.reason IS NOT NULL THEN 3 END)],
            'healthy'
        )
    END AS health,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN
        CASE
            WHEN x.rank = 1 THEN x.disabled
            WHEN x.rank = 6 AND z.reason IS NULL THEN pg_catalog.concat_ws('; ', x.failing, x.others)
            ELSE nullif(pg_catalog.concat_ws('; ', x.broken, z.reason, x.others), '')
        END
    END AS health_reason,
    coalesce(h.fail_count, 0) AS fail_count,
    h.last_success_at,
    h.last_failure_at,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN h.last_error END AS last_error,
    coalesce(b.count, 0) AS pending,
    coalesce(b.held, 0) AS held,
    coalesce(h.shed, 0) AS shed,
    coalesce(h.expired, 0) AS expired,
    w.created_at,
    w.updated_at
FROM webhook.visible AS w
LEFT JOIN webhook.secret AS s ON s.webhook = w.id
LEFT JOIN webhook.health AS h ON h.webhook = w.id
LEFT JOIN LATERAL (
    SELECT pg_catalog.jsonb_object_agg(
        pg_catalog.format('%I.%I', n.nspname, c.relname),
        pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
            -- those that a trigger is there for: one can be disabled, or dropped with a column
            'events', ARRAY(
                SELECT g.operation
                FROM webhook.watched_trigger AS g
                JOIN pg_catalog.unnest(v.events) WITH ORDINALITY AS o (event, position) ON o.event = g.operation
                WHERE g.watch = v.id AND g.ours AND g.unchanged AND g.enabled <> 'D'
                ORDER BY o.position
            ),
            -- as they are called now
            'columns', (SELECT u.names FROM webhook.update_columns AS u WHERE u.watch = v.id),
            'condition', v.condition,
            'payload_columns', (
                SELECT pg_catalog.array_agg(coalesce(p.name, p.named) ORDER BY p.position)
                FROM webhook.payload_column AS p
                WHERE p.watch = v.id
            )
        ))
    ) AS tables
    FROM webhook.watched AS v
    JOIN pg_catalog.pg_class AS c ON c.oid = v.relation
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE v.webhook = w.id
) AS t ON true
LEFT JOIN webhook.told_to_reader() AS x ON x.webhook = w.id
CROSS JOIN (
    SELECT pg_catalog.string_agg(p.problem, '; ' ORDER BY p.problem) AS reason FROM webhook.standstill AS p WHERE p.severity <> 'warning'
) AS z
LEFT JOIN webhook.backlog AS b ON b.webhook = w.id
WHERE w.deleted_at IS NULL;
COMMENT ON VIEW webhook.webhooks IS
    'settings without secrets, and health: healthy, failing, paused, unarmed, stopped, broken or disabled, which health_reason explains; it also says where events wait for rate_limit, and for a week when a bound of what waits has been reached';

CREATE VIEW webhook.dead_letters WITH (security_barrier) AS
SELECT
    d.id,
    d.webhook_id,
    d.webhook,
    coalesce(d.event_id, pg_catalog.format('evt_%s_%s', (SELECT i.id FROM webhook.installation AS i), d.id)) AS event_id,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.event_type END AS event_type,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.schema_name END AS schema_name,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.table_name END AS table_name,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND d.with_contents THEN d.payload END AS payload,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND d.with_contents THEN d.payload::json END AS payload_json,
    'dead' AS status,
    d.attempts,
    d.status_code,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND d.with_contents THEN d.response_body END AS response_body,
    pg_catalog.round(d.duration_us / 1000.0, 3) AS latency_ms,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL THEN d.error_class END AS error_class,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND (d.with_contents OR d.attempts > 0) THEN d.error END AS error,
    d.created_at,
    NULL::timestamptz AS next_attempt_at,
    NULL::timestamptz AS delivered_at
FROM webhook.dead AS d
WHERE NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = d.id AND c.xid = d.xid);
COMMENT ON VIEW webhook.dead_letters IS
    'deliveries that are dead and that nobody has replayed or cancelled; kept until somebody does, or for dead_letter_retention';

CREATE VIEW webhook.stats WITH (security_barrier) AS
SELECT
    w.name AS webhook,
    w.uuid AS webhook_id,
    c.delivered,
    coalesce(d.count, 0) AS failed,
    coalesce(b.count, 0) AS pending,
    coalesce(b.held, 0) AS held,
    -- The one with the lowest id of each stage, by the index that has both: the range and the order fit no other.
    pg_catalog.clock_timestamp() - least(
        (
            SELECT pg_catalog.min(o.created_at)
            FROM (VALUES (0), (1)) AS s (stage)
            CROSS JOIN LATERAL (
                SELECT p.created_at
                FROM webhook.waiting AS p
                WHERE p.webhook_id = w.uuid AND p.stage >= s.stage AND p.stage <= s.stage AND p.status <> 'cancelled'
                ORDER BY p.stage, p.id
                LIMIT 1
            ) AS o
        ),
        b.oldest_fresh
    ) AS oldest_pending_age,
    webhook.percentile(c.request_counts, 0.5) AS p50_ms,
    webhook.percentile(c.request_counts, 0.95) AS p95_ms,
    webhook.percentile(c.request_counts, 0.99) AS p99_ms,
    webhook.percentile(c.delivery_counts, 0.5) AS delivery_p50_ms,
    webhook.percentile(c.delivery_counts, 0.95) AS delivery_p95_ms,
    webhook.percentile(c.delivery_counts, 0.99) AS delivery_p99_ms,
    c.stats_reset
FROM webhook.numbered AS w
JOIN webhook.counted AS c ON c.webhook = w.id
LEFT JOIN webhook.dead_count AS d ON d.webhook = w.id
LEFT JOIN webhook.backlog AS b ON b.webhook = w.id
WHERE w.deleted_at IS NULL;
COMMENT ON VIEW webhook.stats IS
    'each webhook at a glance: what has been delivered since stats_reset, what is dead and what waits now, and how long requests and deliveries have taken';

CREATE VIEW webhook.metrics WITH (security_barrier) AS
SELECT
    w.name AS webhook,
    w.uuid AS webhook_id,
    c.stats_reset,
    c.attempts,
    c.answered,
    c.delivered,
    c.dead,
    c.shed,
    c.expired,
    pg_catalog.round(c.request_us / 1000.0, 3) AS request_ms,
    pg_catalog.round(c.delivery_us / 1000.0, 3) AS delivery_ms,
    webhook.bounds() AS bounds_ms,
    c.request_counts,
    c.delivery_counts
FROM webhook.numbered AS w
JOIN webhook.counted AS c ON c.webhook = w.id
WHERE w.deleted_at IS NULL;
COMMENT ON VIEW webhook.metrics IS
    'what has been counted of each webhook since stats_reset: numbers that only grow, whatever becomes of the log, over restarts. A second old at most where less than fifty webhooks are at work; a crash loses as much';

CREATE VIEW webhook.worker WITH (security_barrier) AS
SELECT s.state, s.pid, s.started_at, s.threads, s.in_flight, s.last_error
FROM webhook.worker_status() AS s;
COMMENT ON VIEW webhook.worker IS 'the worker of this database; reading it needs EXECUTE on webhook.worker_status, too';

CREATE VIEW webhook.workers WITH (security_barrier) AS
SELECT d.datname::text AS database, s.pid, s.state, s.since, s.next_due, s.last_error
FROM webhook.workers_status() AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.database;
COMMENT ON VIEW webhook.workers IS
    'the worker of each database of the server that has the extension, for admins and pg_monitor; of errors the code alone; no rows where the library is not preloaded';

CREATE VIEW webhook.jobs WITH (security_barrier) AS
SELECT
    j.id,
    j.kind,
    -- not to whom it does not belong any more
    CASE WHEN v.id IS NOT NULL THEN w.uuid END AS webhook_id,
    CASE WHEN v.id IS NOT NULL THEN w.name END AS webhook,
    j.since,
    j.until,
    j.status,
    -- as a body: it can say what is looked for in them
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND a.with_contents THEN p.path::text END AS path,
    r.rolname::text COLLATE "default" AS asked_by,
    j.asked_at + k.step * interval '1 microsecond' AS asked_at,
    CASE
        WHEN j.result IS NOT NULL THEN j.result
        WHEN EXISTS (SELECT FROM webhook.stopped AS s WHERE s.job = j.id) THEN 'stopping'
        WHEN j.began_at IS NOT NULL THEN 'running'
        ELSE 'waiting'
    END AS state,
    j.seen_rows AS looked_at,
    j.done,
    j.skipped,
    j.began_at + k.step * interval '1 microsecond' AS began_at,
    j.ended_at + k.step * interval '1 microsecond' AS ended_at,
    CASE WHEN pg_catalog.clock_timestamp() IS NOT NULL AND a.with_contents THEN j.error END AS error
FROM webhook.job AS j
CROSS JOIN webhook.cursor AS k
LEFT JOIN webhook.webhook AS w ON w.uuid = j.webhook_id
LEFT JOIN webhook.job_path AS p ON p.job = j.id
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = j.role
LEFT JOIN webhook.visible AS v ON v.uuid = j.webhook_id
CROSS JOIN LATERAL (
    SELECT
        coalesce(v.with_contents, false)
        OR coalesce(pg_catalog.pg_has_role(r.oid, 'USAGE'), false)
        OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_catalog.pg_has_role(l.role, 'USAGE')) AS with_contents
    OFFSET 0
) AS a
WHERE v.id IS NOT NULL
   OR a.with_contents
   OR EXISTS (SELECT FROM webhook.monitor AS l WHERE pg_catalog.pg_has_role(l.role, 'USAGE'))
OFFSET 0;
COMMENT ON VIEW webhook.jobs IS
    'what webhook_cancel_all, webhook_replay_all and webhook_erase have been asked for, and how far it is; as long as the log is kept, and a thousand that have ended';
