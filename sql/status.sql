-- Where deliveries stand, and what keeps them from being sent. Private: for all webhooks, whoever asks.

CREATE VIEW webhook.logged AS
SELECT
    a.delivery, a.xid, a.started_at, a.duration_us, a.attempt, a.status_code, a.webhook_id, 'delivered' AS verdict,
    a.error_class, a.error, a.response_body, a.batch
FROM webhook.attempt AS a
WHERE a.verdict = 'delivered'
UNION ALL
SELECT
    a.delivery, a.xid, a.started_at, a.duration_us, a.attempt, a.status_code, a.webhook_id, 'failed',
    a.error_class, a.error, a.response_body, a.batch
FROM webhook.attempt AS a
WHERE a.verdict = 'failed'
UNION ALL
SELECT
    a.delivery, a.xid, a.started_at, a.duration_us, a.attempt, a.status_code, a.webhook_id, a.verdict,
    a.error_class, a.error, a.response_body, a.batch
FROM webhook.attempt AS a
WHERE a.verdict IN ('retry', 'dead');
COMMENT ON VIEW webhook.logged IS
    'private: all attempts, in parts that have indexes of their own, and are left out where the query asks for other verdicts';

-- Deliveries are of four kinds: what has ended, what is in the backlog, what is after the cursor, and what is before it and nowhere
-- else. None is of two. They have the same columns, and those by which they are found.

CREATE VIEW webhook.ended AS
SELECT
    a.delivery AS id,
    a.xid,
    a.slot,
    a.webhook_id,
    e.event_id,
    e.event_type,
    e.schema_name,
    e.table_name,
    e.payload,
    NULL::text AS failure,
    CASE a.verdict WHEN 'failed' THEN 'dead' ELSE a.verdict END AS status,
    a.attempt AS attempts,
    a.status_code,
    a.response_body,
    a.duration_us,
    a.error_class,
    a.error,
    e.created_at,
    NULL::timestamptz AS next_at,
    CASE
        WHEN a.verdict = 'delivered' THEN a.started_at + pg_catalog.make_interval(secs => a.duration_us / 1e6)
    END AS delivered_at
FROM webhook.attempt AS a
CROSS JOIN LATERAL (
    SELECT n.event_id, n.event_type, n.schema_name, n.table_name, n.payload, n.created_at
    FROM webhook.event AS n
    WHERE n.slot = a.event_slot AND n.xid = a.xid AND n.id = a.delivery
    LIMIT 1
) AS e
WHERE a.verdict IN ('delivered', 'failed');
COMMENT ON VIEW webhook.ended IS
    'private: deliveries that their last attempt has ended, and tests, as long as the ring has their events';

CREATE VIEW webhook.waiting AS
SELECT
    p.id,
    p.xid,
    p.webhook_id,
    p.event_id,
    p.event_type,
    p.schema_name,
    p.table_name,
    p.payload,
    p.failure,
    CASE
        WHEN p.stage = 3 THEN 'cancelled'
        ELSE coalesce(
            -- The worker has not come to it.
            CASE (SELECT c.how FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid)
                WHEN 'cancelled' THEN 'cancelled'
                WHEN 'rearmed' THEN CASE WHEN p.stage = 2 THEN 'held' END
            END,
            ('{pending,retrying,dead,cancelled,held}'::text[])[p.stage + 1]
        )
    END AS status,
    p.attempts,
    p.status_code,
    p.response_body,
    p.duration_us,
    p.error_class,
    coalesce(p.error, p.failure) AS error,
    p.created_at,
    CASE
        WHEN p.stage < 2 AND (SELECT c.how FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid) IS NULL
            THEN p.next_at + (SELECT k.step * interval '1 microsecond' FROM webhook.cursor AS k)
    END AS next_at,
    NULL::timestamptz AS delivered_at,
    p.stage
FROM webhook.pending AS p;
COMMENT ON VIEW webhook.waiting IS 'private: deliveries in the backlog, dead letters and cancelled ones among them';

-- The planner cannot know how few of these are asked for, those after the cursor for one. Where it takes them for much of the ring it
-- has the query compiled, which takes a second. A range between bounds that it does not know it takes for a two-hundredth; so there
-- are two, which leave nothing out.
CREATE VIEW webhook.unlisted AS
SELECT e.*
FROM webhook.event AS e
WHERE e.xid >= (SELECT '0'::xid8 FROM webhook.cursor AS k)
  AND e.xid <= '18446744073709551615'
  AND e.id >= (SELECT 0::bigint FROM webhook.cursor AS k)
  AND e.id <= 9223372036854775807
  -- sent by the session that has made it
  AND e.event_type <> 'TEST'
  AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = e.id AND p.xid = e.xid)
  AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = e.id AND c.xid = e.xid AND c.how = 'renewed')
  AND NOT EXISTS (
      SELECT FROM webhook.attempt AS a WHERE a.delivery = e.id AND a.xid = e.xid AND a.verdict IN ('delivered', 'failed')
  );
COMMENT ON VIEW webhook.unlisted IS 'private: events that are neither in the log as ended nor in the backlog';

CREATE VIEW webhook.unsettled AS
SELECT e.*
FROM webhook.unlisted AS e
WHERE e.xid >= (SELECT pg_catalog.pg_snapshot_xmin(k.snap) FROM webhook.cursor AS k)
  AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, (SELECT k.snap FROM webhook.cursor AS k));
COMMENT ON VIEW webhook.unsettled IS 'private: those of them after the cursor';

CREATE VIEW webhook.fresh AS
SELECT
    e.id,
    e.xid,
    w.uuid AS webhook_id,
    e.event_id,
    e.event_type,
    e.schema_name,
    e.table_name,
    e.payload,
    e.failure,
    CASE
        WHEN (SELECT c.how FROM webhook.closed AS c WHERE c.delivery = e.id AND c.xid = e.xid) = 'cancelled' THEN 'cancelled'
        WHEN e.failure IS NOT NULL THEN 'dead'
        ELSE 'pending'
    END AS status,
    0 AS attempts,
    NULL::smallint AS status_code,
    NULL::text AS response_body,
    NULL::bigint AS duration_us,
    NULL::text AS error_class,
    e.failure AS error,
    e.created_at,
    NULL::timestamptz AS next_at,
    NULL::timestamptz AS delivered_at
FROM webhook.unsettled AS e
JOIN webhook.webhook AS w ON w.id = e.webhook;
COMMENT ON VIEW webhook.fresh IS 'private: deliveries after the cursor';

CREATE VIEW webhook.unlogged AS
SELECT
    e.id,
    e.xid,
    w.uuid AS webhook_id,
    e.event_id,
    e.event_type,
    e.schema_name,
    e.table_name,
    e.payload,
    NULL::text AS failure,
    'delivered' AS status,
    0 AS attempts,
    NULL::smallint AS status_code,
    NULL::text AS response_body,
    NULL::bigint AS duration_us,
    NULL::text AS error_class,
    NULL::text AS error,
    e.created_at,
    NULL::timestamptz AS next_at,
    NULL::timestamptz AS delivered_at
FROM webhook.unlisted AS e
JOIN webhook.webhook AS w ON w.id = e.webhook
-- Where there is no such slot this says so without a look at the ring.
WHERE (SELECT r.unlogged <> '{}' FROM webhook.ring AS r)
  AND e.slot = ANY ((SELECT r.unlogged FROM webhook.ring AS r)::smallint[])
  AND pg_catalog.pg_visible_in_snapshot(e.xid, (SELECT k.snap FROM webhook.cursor AS k))
  AND e.failure IS NULL;
COMMENT ON VIEW webhook.unlogged IS
    'private: deliveries that have been made and are not in the log: found by looking at all events of the slots that have such';

-- Both kinds in one, for webhook.deliveries, because to plan a look at the ring takes longer than the look. Only where a slot has some
-- that are not logged does that begin before the cursor. Where else they might be is asked of each of them (OFFSET 0), instead of joined:
-- to look for an order of joins takes a fifth of the time that one delivery takes. The LIMIT is for the planner, to which a table without
-- statistics has hundreds of rows.
CREATE VIEW webhook.remaining AS
SELECT
    e.id,
    e.xid,
    e.slot,
    w.uuid AS webhook_id,
    e.event_id,
    e.event_type,
    e.schema_name,
    e.table_name,
    e.payload,
    e.failure,
    CASE
        WHEN pg_catalog.pg_visible_in_snapshot(e.xid, (SELECT k.snap FROM webhook.cursor AS k)) THEN 'delivered'
        WHEN (SELECT c.how FROM webhook.closed AS c WHERE c.delivery = e.id AND c.xid = e.xid) = 'cancelled' THEN 'cancelled'
        WHEN e.failure IS NOT NULL THEN 'dead'
        ELSE 'pending'
    END AS status,
    0 AS attempts,
    NULL::smallint AS status_code,
    NULL::text AS response_body,
    NULL::bigint AS duration_us,
    NULL::text AS error_class,
    e.failure AS error,
    e.created_at,
    NULL::timestamptz AS next_at,
    NULL::timestamptz AS delivered_at
FROM webhook.event AS e
JOIN webhook.webhook AS w ON w.id = e.webhook
WHERE e.xid >= (
      SELECT CASE r.unlogged WHEN '{}' THEN pg_catalog.pg_snapshot_xmin(k.snap) ELSE '0' END
      FROM webhook.ring AS r
      CROSS JOIN webhook.cursor AS k
      LIMIT 1
  )
  -- as in webhook.unlisted
  AND e.xid <= '18446744073709551615'
  AND e.id >= (SELECT 0::bigint)
  AND e.id <= 9223372036854775807
  AND e.event_type <> 'TEST'
  AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = e.id AND p.xid = e.xid OFFSET 0)
  AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = e.id AND c.xid = e.xid AND c.how = 'renewed' OFFSET 0)
  AND NOT EXISTS (
      SELECT FROM webhook.attempt AS a WHERE a.delivery = e.id AND a.xid = e.xid AND a.verdict IN ('delivered', 'failed') OFFSET 0
  )
  AND (
      NOT pg_catalog.pg_visible_in_snapshot(e.xid, (SELECT k.snap FROM webhook.cursor AS k))
      OR e.slot = ANY ((SELECT r.unlogged FROM webhook.ring AS r)::smallint[]) AND e.failure IS NULL
  );
COMMENT ON VIEW webhook.remaining IS
    'private: deliveries after the cursor, and those that have been made and are not in the log, found by looking at all events where there are such';

CREATE VIEW webhook.delivery AS
SELECT
    d.id,
    d.xid,
    w.id AS webhook,
    coalesce(d.event_id, pg_catalog.format('evt_%s_%s', (SELECT i.id FROM webhook.installation AS i), d.id)) AS event_id,
    d.event_type,
    d.schema_name,
    d.table_name,
    d.payload,
    d.failure,
    -- What waits is cancelled with its webhook.
    CASE WHEN w.deleted_at IS NOT NULL AND d.status IN ('pending', 'retrying', 'held') THEN 'cancelled' ELSE d.status END AS status,
    d.created_at
FROM (
    SELECT e.id, e.xid, e.webhook_id, e.event_id, e.event_type, e.schema_name, e.table_name, e.payload, e.failure, e.status, e.created_at
    FROM webhook.ended AS e
    UNION ALL
    SELECT p.id, p.xid, p.webhook_id, p.event_id, p.event_type, p.schema_name, p.table_name, p.payload, p.failure, p.status, p.created_at
    FROM webhook.waiting AS p
    UNION ALL
    SELECT r.id, r.xid, r.webhook_id, r.event_id, r.event_type, r.schema_name, r.table_name, r.payload, r.failure, r.status, r.created_at
    FROM webhook.remaining AS r
) AS d
JOIN webhook.webhook AS w ON w.uuid = d.webhook_id;
COMMENT ON VIEW webhook.delivery IS 'private: all deliveries, each with its status';

-- Lists are read newest first, a few rows of millions. PostgreSQL passes a LIMIT to no view that keeps back conditions, and so
-- prefers to sort all of it. What is sorted is therefore made to look large, by a column of ten to forty megabytes that is always NULL
-- and nobody sees: then each part is read in the order of an index, and the parts are merged. The order has to be asked for again at
-- each level, or it is forgotten. What is sorted all the same, because there is no index, has no such column where it is sorted.
-- Parallel workers would sort below the column; a query has none where it calls a function that is not safe for them.
CREATE VIEW webhook.listed AS
(SELECT
    e.id, e.webhook_id, e.event_id, e.event_type, e.schema_name, e.table_name, e.payload, e.status, e.attempts, e.status_code,
    e.response_body, e.duration_us, e.error_class, e.error, e.created_at, e.next_at, e.delivered_at,
    NULL::character(10485760) AS wide
FROM webhook.ended AS e
ORDER BY e.id DESC)
UNION ALL
(SELECT
    p.id, p.webhook_id, p.event_id, p.event_type, p.schema_name, p.table_name, p.payload, p.status, p.attempts, p.status_code,
    p.response_body, p.duration_us, p.error_class, p.error, p.created_at, p.next_at, p.delivered_at,
    NULL::character(10485760)
FROM webhook.waiting AS p
ORDER BY p.id DESC)
UNION ALL
(SELECT s.*, NULL::character(10485760)
FROM (
    SELECT
        r.id, r.webhook_id, r.event_id, r.event_type, r.schema_name, r.table_name, r.payload, r.status, r.attempts, r.status_code,
        r.response_body, r.duration_us, r.error_class, r.error, r.created_at, r.next_at, r.delivered_at
    FROM webhook.remaining AS r
    ORDER BY r.id DESC
) AS s
ORDER BY s.id DESC);
COMMENT ON VIEW webhook.listed IS 'private: all deliveries, each part in the order of ids, the newest first';

-- Of each webhook they are read by the index that has its stages, and not by looking through the backlog: the range and the order fit no
-- other index, and what would have to be sorted looks large, as in webhook.listed.
CREATE VIEW webhook.dead AS
WITH seen AS MATERIALIZED (
    SELECT w.uuid, w.name, w.with_contents FROM webhook.seen_by_reader() AS w WHERE NOT w.deleted
)
SELECT
    d.webhook_id, s.name AS webhook, s.with_contents, d.id, d.xid, d.event_id, d.event_type, d.schema_name, d.table_name, d.payload,
    d.attempts, d.status_code, d.response_body, d.duration_us, d.error_class, d.error, d.created_at
FROM seen AS s
CROSS JOIN LATERAL (
    SELECT w.*, NULL::character(10485760) AS wide
    FROM webhook.waiting AS w
    WHERE w.webhook_id = s.uuid AND w.stage >= 2 AND w.stage <= 2
    ORDER BY w.stage, w.id
) AS d
UNION ALL
-- whose transform has failed, and that the worker has not come to
SELECT
    f.webhook_id, s.name, s.with_contents, f.id, f.xid, f.event_id, f.event_type, f.schema_name, f.table_name, f.payload,
    f.attempts, f.status_code, f.response_body, f.duration_us, f.error_class, f.error, f.created_at
FROM webhook.fresh AS f
JOIN seen AS s ON s.uuid = f.webhook_id
WHERE f.failure IS NOT NULL;
COMMENT ON VIEW webhook.dead IS
    'private: dead letters of the webhooks that the reader may see, those that somebody has replayed or cancelled among them';

CREATE VIEW webhook.at_stage AS
SELECT c.webhook, c.stage, pg_catalog.sum(c.count)::bigint AS count
FROM (
    SELECT m.webhook, m.stage, m.count FROM webhook.movement AS m
    UNION ALL
    SELECT m.webhook, m.was, -m.count FROM webhook.movement AS m
) AS c
WHERE c.stage IS NOT NULL
GROUP BY c.webhook, c.stage;
COMMENT ON VIEW webhook.at_stage IS 'private: how many deliveries of a webhook are at each stage of the backlog';

-- Less what is cancelled and not yet moved.
CREATE VIEW webhook.backlog AS
WITH moved AS MATERIALIZED (
    SELECT s.webhook, pg_catalog.sum(s.count)::bigint AS count FROM webhook.at_stage AS s WHERE s.stage < 2 GROUP BY s.webhook
), cancelled AS MATERIALIZED (
    SELECT p.webhook_id, pg_catalog.count(*) AS count
    FROM webhook.closed AS c
    JOIN webhook.pending AS p ON p.id = c.delivery AND p.xid = c.xid
    WHERE NOT c.settled AND p.stage < 2
    GROUP BY p.webhook_id
), held AS MATERIALIZED (
    SELECT h.webhook, pg_catalog.sum(h.count)::bigint AS count
    FROM (
        SELECT s.webhook, s.count FROM webhook.at_stage AS s WHERE s.stage = 4
        UNION ALL
        SELECT p.webhook, CASE WHEN c.how = 'rearmed' THEN 1 ELSE -1 END
        FROM webhook.closed AS c
        JOIN webhook.pending AS p ON p.id = c.delivery AND p.xid = c.xid
        WHERE NOT c.settled AND (c.how = 'rearmed' AND p.stage = 2 OR c.how = 'cancelled' AND p.stage = 4)
    ) AS h
    GROUP BY h.webhook
), fresh AS MATERIALIZED (
    SELECT f.webhook_id, pg_catalog.count(*) AS count, pg_catalog.min(f.created_at) AS oldest
    FROM webhook.fresh AS f
    WHERE f.status = 'pending'
    GROUP BY f.webhook_id
)
SELECT
    w.id AS webhook,
    coalesce(m.count, 0) + coalesce(f.count, 0) - coalesce(c.count, 0) AS count,
    coalesce(g.count, 0) AS held,
    f.oldest AS oldest_fresh
FROM webhook.webhook AS w
LEFT JOIN moved AS m ON m.webhook = w.id
LEFT JOIN cancelled AS c ON c.webhook_id = w.uuid
LEFT JOIN held AS g ON g.webhook = w.id
LEFT JOIN fresh AS f ON f.webhook_id = w.uuid;
COMMENT ON VIEW webhook.backlog IS 'private: what is to be sent, of all webhooks';

-- The same of dead letters: less what somebody has replayed or cancelled, with those that the worker has not come to.
CREATE VIEW webhook.dead_count AS
SELECT d.webhook, pg_catalog.sum(d.count)::bigint AS count
FROM (
    SELECT s.webhook, s.count FROM webhook.at_stage AS s WHERE s.stage = 2
    UNION ALL
    -- In two parts, as each has a partial index of its own.
    SELECT p.webhook, -1
    FROM webhook.closed AS c
    JOIN webhook.pending AS p ON p.id = c.delivery AND p.xid = c.xid
    WHERE p.stage = 2 AND c.how = 'replayed'
    UNION ALL
    SELECT p.webhook, -1
    FROM webhook.closed AS c
    JOIN webhook.pending AS p ON p.id = c.delivery AND p.xid = c.xid
    WHERE p.stage = 2 AND c.how <> 'replayed' AND NOT c.settled
    UNION ALL
    SELECT w.id, 1
    FROM webhook.fresh AS f
    JOIN webhook.webhook AS w ON w.uuid = f.webhook_id
    WHERE f.failure IS NOT NULL AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = f.id AND c.xid = f.xid)
) AS d
GROUP BY d.webhook;
COMMENT ON VIEW webhook.dead_count IS 'private: how many dead letters of webhooks nobody has replayed or cancelled';

CREATE VIEW webhook.counted AS
SELECT
    w.id AS webhook,
    coalesce(r.reset_at, w.created_at) AS stats_reset,
    coalesce(m.attempts, 0) - coalesce(r.attempts, 0) AS attempts,
    coalesce(m.answered, 0) - coalesce(r.answered, 0) AS answered,
    coalesce(m.delivered, 0) - coalesce(r.delivered, 0) AS delivered,
    coalesce(m.dead, 0) - coalesce(r.dead, 0) AS dead,
    coalesce(h.shed, 0) - coalesce(r.shed, 0) AS shed,
    coalesce(h.expired, 0) - coalesce(r.expired, 0) AS expired,
    coalesce(m.request_us, 0) - coalesce(r.request_us, 0) AS request_us,
    coalesce(m.delivery_us, 0) - coalesce(r.delivery_us, 0) AS delivery_us,
    c.request_counts,
    c.delivery_counts
FROM webhook.webhook AS w
LEFT JOIN webhook.metric AS m ON m.webhook = w.id
LEFT JOIN webhook.health AS h ON h.webhook = w.id
LEFT JOIN LATERAL (
    SELECT s.* FROM webhook.metric_reset AS s WHERE s.webhook = w.id ORDER BY s.reset_at DESC LIMIT 1
) AS r ON true
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.array_agg(coalesce(t.requests, 0) - coalesce(t.old_requests, 0) ORDER BY t.place) AS request_counts,
        pg_catalog.array_agg(coalesce(t.deliveries, 0) - coalesce(t.old_deliveries, 0) ORDER BY t.place) AS delivery_counts
    FROM ROWS FROM (
        pg_catalog.unnest(webhook.bounds()), pg_catalog.unnest(m.request_counts), pg_catalog.unnest(r.request_counts),
        pg_catalog.unnest(m.delivery_counts), pg_catalog.unnest(r.delivery_counts)
    ) WITH ORDINALITY AS t (bound, requests, old_requests, deliveries, old_deliveries, place)
) AS c;
COMMENT ON VIEW webhook.counted IS 'private: what has been counted of webhooks since it was last reset';

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
    d.keys
FROM (
    SELECT
        p.id, p.xid, p.webhook, p.event_id, p.event_type, p.schema_name, p.table_name, p.payload, p.failure, p.created_at,
        -- what is held waits for others, and is due when these are finished
        CASE WHEN p.stage = 4 THEN p.created_at ELSE p.next_at + k.step * interval '1 microsecond' END AS next_at,
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
        p.attempts, p.status_code, p.duration_us, p.error, p.response_body, p.keys
    FROM webhook.pending AS p
    CROSS JOIN webhook.cursor AS k
    WHERE p.stage <> 3
    UNION ALL
    -- what the worker has not come to
    SELECT
        e.id, e.xid, e.webhook, e.event_id, e.event_type, e.schema_name, e.table_name, e.payload, e.failure, e.created_at,
        CASE WHEN e.failure IS NULL THEN e.created_at ELSE 'infinity' END, NULL, 0, NULL, NULL, e.failure, NULL, e.keys
    FROM webhook.unsettled AS e
) AS d
JOIN webhook.webhook AS w ON w.id = d.webhook AND w.deleted_at IS NULL
WHERE NOT EXISTS (
        SELECT FROM webhook.closed AS c WHERE c.delivery = d.id AND c.xid = d.xid AND c.how <> 'rearmed'
    )
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

-- As it is after a dump has been restored.
CREATE VIEW webhook.lacking AS
SELECT l.webhook, l.secret, l.headers
FROM (
    SELECT
        w.id AS webhook,
        w.signature <> 'none' AND s.signing_key IS NULL AS secret,
        ARRAY(SELECT h.name FROM pg_catalog.unnest(w.header_names) AS h (name) WHERE (s.headers ? h.name) IS NOT TRUE) AS headers
    FROM webhook.webhook AS w
    LEFT JOIN webhook.secret AS s ON s.webhook = w.id
    WHERE w.deleted_at IS NULL
) AS l
WHERE l.secret OR l.headers <> '{}';
COMMENT ON VIEW webhook.lacking IS
    'private: webhooks that send nothing, because their secret or what is in their headers is not here';

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
