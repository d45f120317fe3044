-- The log and the settings as users see them. Each view shows what the reader may see, which is
-- what webhook.visible says; nothing in them is a secret.

CREATE VIEW webhook.deliveries WITH (security_barrier) AS
SELECT
    d.id,
    w.name AS webhook,
    coalesce(d.event_id, pg_catalog.format('evt_%s_%s', (SELECT i.id FROM webhook.installation AS i), d.id)) AS event_id,
    d.event_type,
    d.schema_name,
    d.table_name,
    d.payload,
    CASE
        WHEN a.verdict = 'delivered' THEN 'delivered'
        WHEN a.verdict = 'dead' OR p.next_at = 'infinity' THEN 'dead'
        WHEN w.deleted_at IS NOT NULL THEN 'cancelled'
        WHEN p.attempts > 0 THEN 'retrying'
        -- Behind the cursor and nowhere else: delivered, and not logged.
        WHEN p.id IS NULL AND pg_catalog.pg_visible_in_snapshot(d.xid, (SELECT c.snap FROM webhook.cursor AS c))
            THEN 'delivered'
        ELSE 'pending'
    END AS status,
    coalesce(a.attempt, p.attempts, 0) AS attempts,
    coalesce(a.status_code, p.status_code) AS status_code,
    coalesce(a.response_body, p.response_body) AS response_body,
    pg_catalog.round(coalesce(a.duration_us, p.duration_us) / 1000.0, 3) AS latency_ms,
    coalesce(a.error, p.error) AS error,
    d.created_at,
    CASE WHEN w.deleted_at IS NULL THEN nullif(p.next_at, 'infinity') END AS next_attempt_at,
    CASE
        WHEN a.verdict = 'delivered' THEN a.started_at + pg_catalog.make_interval(secs => a.duration_us / 1e6)
    END AS delivered_at
FROM (
    SELECT e.id, e.xid, e.webhook, e.event_id, e.event_type, e.schema_name, e.table_name, e.payload, e.created_at
    FROM webhook.event AS e
    UNION ALL
    -- what has outlived its slot of the ring
    SELECT q.id, q.xid, q.webhook, q.event_id, q.event_type, q.schema_name, q.table_name, q.payload, q.created_at
    FROM webhook.pending AS q
    WHERE NOT EXISTS (SELECT FROM webhook.event AS e WHERE e.xid = q.xid AND e.id = q.id)
) AS d
JOIN webhook.visible AS w ON w.id = d.webhook
-- A delivery that is finished has one attempt that says so; one that waits is in the slow lane.
LEFT JOIN webhook.attempt AS a ON a.delivery = d.id AND a.verdict <> 'retry'
LEFT JOIN webhook.pending AS p ON p.id = d.id;
COMMENT ON VIEW webhook.deliveries IS
    'one row per event and webhook; status is pending, retrying, delivered, dead or cancelled';

CREATE VIEW webhook.attempts WITH (security_barrier) AS
SELECT
    a.delivery AS delivery_id,
    a.attempt,
    a.started_at,
    a.status_code,
    a.response_body,
    pg_catalog.round(a.duration_us / 1000.0, 3) AS latency_ms,
    a.error_class,
    a.error
FROM webhook.attempt AS a
JOIN webhook.visible AS w ON w.id = a.webhook;
COMMENT ON VIEW webhook.attempts IS
    'one row per HTTP attempt; status_code is 0 where there was no answer';

CREATE VIEW webhook.webhooks WITH (security_barrier) AS
SELECT
    w.uuid AS id,
    w.name,
    w.url,
    w.description,
    w.enabled,
    t.tables,
    w.signature,
    (SELECT pg_catalog.jsonb_object_agg(h.key, '***') FROM pg_catalog.jsonb_object_keys(s.headers) AS h (key)) AS headers,
    w.max_retries,
    w.timeout_seconds,
    w.retry_backoff_seconds,
    w.retry_for,
    w.max_concurrency,
    w.rate_limit,
    w.owner,
    CASE
        WHEN NOT w.enabled THEN 'disabled'
        WHEN w.paused THEN 'paused'
        WHEN h.fail_count > 0 THEN 'failing'
        ELSE 'healthy'
    END AS health,
    coalesce(h.fail_count, 0) AS fail_count,
    h.last_success_at,
    h.last_failure_at,
    h.last_error,
    coalesce(fresh.count, 0) + coalesce(slow.count, 0) AS pending,
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
                SELECT o.event
                FROM pg_catalog.unnest(v.events) AS o (event)
                JOIN (VALUES ('INSERT', 4), ('UPDATE', 16), ('DELETE', 8)) AS b (event, bit) ON b.event = o.event
                WHERE EXISTS (
                    SELECT FROM pg_catalog.pg_trigger AS g
                    WHERE g.tgrelid = v.relation
                      AND g.tgfoid = 'webhook.capture()'::pg_catalog.regprocedure
                      AND g.tgargs = pg_catalog.convert_to(w.id::text, 'UTF8') || '\x00'
                      AND (g.tgtype & b.bit) <> 0
                      AND g.tgenabled <> 'D'
                )
            ),
            'columns', v.columns,
            'condition', v.condition
        ))
    ) AS tables
    FROM webhook.watch AS v
    JOIN pg_catalog.pg_class AS c ON c.oid = v.relation
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE v.webhook = w.id
) AS t ON true
LEFT JOIN (
    SELECT p.webhook, pg_catalog.count(*) AS count
    FROM webhook.pending AS p
    WHERE p.next_at < 'infinity'
    GROUP BY p.webhook
) AS slow ON slow.webhook = w.id
LEFT JOIN (
    -- Events that have neither been tried nor moved to the slow lane are behind the cursor's back.
    SELECT e.webhook, pg_catalog.count(*) AS count
    FROM webhook.cursor AS c
    JOIN webhook.event AS e
        ON e.xid >= pg_catalog.pg_snapshot_xmin(c.snap)
        AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, c.snap)
    WHERE NOT EXISTS (SELECT FROM webhook.attempt AS a WHERE a.delivery = e.id)
      AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = e.id)
    GROUP BY e.webhook
) AS fresh ON fresh.webhook = w.id
WHERE w.deleted_at IS NULL;
COMMENT ON VIEW webhook.webhooks IS
    'settings without secrets, and health: healthy, failing, paused or disabled';

CREATE VIEW webhook.worker WITH (security_barrier) AS
SELECT s.state, s.pid, s.started_at, s.threads, s.in_flight, s.last_error
FROM webhook.worker_status() AS s;
COMMENT ON VIEW webhook.worker IS 'the worker of this database; reading it needs EXECUTE on webhook.worker_status, too';
