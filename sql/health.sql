-- What keeps an event of a webhook from arriving, whoever wants it so: beside what is wrong with the webhook (webhook.problem) the
-- server, somebody's will, and the endpoint. Private: for all webhooks, whoever asks.
--
-- rank says what it makes of the webhook's health, and which of several counts: the one that loses most, and of those the one that
-- has to end first. 1 disabled and 2 broken: nothing is captured, or it cannot be sent. 3 stopped: no webhook of the database sends.
-- 4 unarmed, 5 paused: this one does not. 6 failing: it tries. 7 is told, and no matter of health; NULL is for webhook_check alone.
-- docs/troubleshooting.md says the same.

-- What no table knows comes from webhook.obstacles. One row for each of them, for all webhooks of the database.
CREATE VIEW webhook.standstill AS
SELECT
    k.severity,
    pg_catalog.format(k.problem, o.detail, e.version, pg_catalog.date_trunc('second', o.since)) AS problem,
    k.hint
FROM webhook.obstacles() AS o
CROSS JOIN (SELECT x.extversion AS version FROM pg_catalog.pg_extension AS x WHERE x.extname = 'pg_webhook') AS e
JOIN (
    VALUES
        (
            'server switch', 'error', 'pg_webhook.enabled is off: nothing is sent from any database of the server',
            'ALTER SYSTEM SET pg_webhook.enabled = on, or the same in postgresql.conf, and SELECT pg_reload_conf().'
            ' What is captured meanwhile waits.'
        ),
        (
            'standby', 'notice', 'the server is a standby, which sends nothing',
            'Nothing is to be done: the primary sends, and this server does when it has been promoted.'
        ),
        (
            'not preloaded', 'error', 'pg_webhook is not in shared_preload_libraries, so there is no worker',
            'Add it to shared_preload_libraries in postgresql.conf, and restart the server.'
        ),
        (
            'no place', 'error', 'no worker: %1$s other databases of the server have the extension',
            'DROP EXTENSION pg_webhook, or DROP DATABASE, where it is not needed.'
        ),
        (
            'no launcher', 'error', 'no worker: the launcher of pg_webhook has not begun since the server started',
            'It needs one of max_worker_processes, as each worker does: increase that, and restart the server.'
        ),
        (
            'no slot', 'error', 'no worker: no background worker slot has been free since %3$s',
            'Increase max_worker_processes, and restart the server: pg_webhook needs one for each database that has work at the'
            ' same time, and one.'
        ),
        (
            'version', 'error', 'the extension has version %2$s, and the library %1$s',
            'ALTER EXTENSION pg_webhook UPDATE; or, where the library is the older one, restart the server with the new one.'
        ),
        (
            'older', 'warning', 'the extension has version %2$s, and the library %1$s, which works with both',
            'ALTER EXTENSION pg_webhook UPDATE brings what is new.'
        ),
        (
            'cannot begin', 'error', 'the worker cannot begin: %1$s',
            'Mend what the error names. It tries again by itself, after ten seconds at most. webhook.worker shows its state.'
        ),
        (
            'starting', 'error', 'the worker is starting since %3$s',
            'See in pg_stat_activity what processes of backend_type pg_webhook worker wait for.'
        ),
        (
            'failing', 'error', 'the worker fails, and tries again: %1$s',
            'Mend what the error names. It tries again by itself, after ten seconds at most. webhook.worker shows its state.'
        ),
        (
            'stopped', 'error', 'no worker runs',
            'A minute after one has failed at the latest the next one is started. The server''s log says why it has ended.'
        ),
        (
            'certificates', 'warning', 'the certificates of pg_webhook.ca_file cannot be read',
            'The server''s log says why. Endpoints that need them fail, unless they have been read before. Correct the file or the'
            ' setting, and SELECT pg_reload_conf().'
        ),
        (
            'hampered', 'warning', 'the worker is held up: %1$s',
            'End what is in the way. It goes on by itself then; webhook.worker shows its state.'
        )
) AS k (kind, severity, problem, hint) ON k.kind = o.kind
WHERE k.kind <> 'version' OR o.detail <> e.version
UNION ALL
SELECT
    'error',
    pg_catalog.format(
        'stopped by role %s at %s: nothing is sent from this database',
        pg_catalog.quote_ident(s.role_name), pg_catalog.date_trunc('second', s.since)
    ),
    pg_catalog.format('SELECT %s.webhook_start(), by an admin, sends what has waited since.', f.name)
FROM webhook.stop AS s
CROSS JOIN webhook.function_schema AS f
UNION ALL
SELECT
    'error',
    pg_catalog.format('database %I allows no connections, and so no worker', d.datname),
    pg_catalog.format('ALTER DATABASE %I ALLOW_CONNECTIONS true', d.datname)
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database() AND NOT d.datallowconn;
COMMENT ON VIEW webhook.standstill IS 'private: why no webhook of the database sends, and what there is to be done about it';

-- Somebody's will, and what the worker has written down of the endpoint.
CREATE VIEW webhook.hindrance AS
SELECT w.id AS webhook, h.rank, h.severity, h.stage, h.problem, pg_catalog.format(h.hint, f.name, w.uuid) AS hint
FROM webhook.webhook AS w
CROSS JOIN webhook.function_schema AS f
LEFT JOIN webhook.health AS k ON k.webhook = w.id
LEFT JOIN webhook.lacking AS e ON e.webhook = w.id
-- A transform that fails makes dead letters; the newest one says whether it still does. What keeps it from being called at all, the
-- failure does not name it then, is among the problems, but for sessions of emitters in which it may not run.
LEFT JOIN LATERAL (
    SELECT p.id, p.xid, p.failure, p.created_at
    FROM webhook.pending AS p
    -- The range and the order fit the index of stages only: by that of ids, one without any is looked for in all of the backlog.
    WHERE w.anchor IS NOT NULL AND p.webhook_id = w.uuid AND p.stage >= 2 AND p.stage <= 2
    ORDER BY p.stage DESC, p.id DESC
    LIMIT 1
) AS d
    ON (d.failure LIKE 'transform %' OR d.failure LIKE 'the transform does not run in %')
    AND (k.last_success_at < d.created_at) IS NOT FALSE
    AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = d.id AND c.xid = d.xid)
CROSS JOIN LATERAL (
    SELECT
        1 AS rank,
        'notice' AS severity,
        'capture' AS stage,
        'the webhook is disabled: nothing is captured' AS problem,
        'SELECT %1$s.webhook_update(%2$L::text, enabled => true) captures what happens from then on.' AS hint
    WHERE NOT w.enabled
    UNION ALL
    SELECT
        5,
        'notice',
        'sending',
        CASE
            WHEN w.paused_because IS NULL THEN pg_catalog.format(
                'paused by role %s at %s', pg_catalog.quote_ident(w.paused_by), pg_catalog.date_trunc('second', w.paused_at)
            )
            ELSE pg_catalog.format(
                'paused by the worker at %s: %s', pg_catalog.date_trunc('second', w.paused_at), w.paused_because
            )
        END,
        'What happens is captured and kept. SELECT %1$s.webhook_resume(%2$L::text) sends it.'
    WHERE w.paused
    UNION ALL
    SELECT
        6,
        'warning',
        'sending',
        pg_catalog.format(
            'requests fail, %s in a row, the last at %s: %s',
            k.fail_count, pg_catalog.date_trunc('second', k.last_failure_at), k.last_error
        ),
        pg_catalog.concat(
            CASE pg_catalog.split_part(k.last_error, ':', 1)
                WHEN 'dns' THEN
                    'The database server cannot resolve the name in the URL. Correct the name, or the URL with %1$s.webhook_update.'
                WHEN 'blocked_address' THEN
                    'The URL, or an address of its name, is not allowed. pg_webhook.allowed_networks lists exceptions,'
                    ' pg_webhook.allow_http allows http.'
                WHEN 'connect' THEN
                    'Nothing takes connections there, or something in between refuses them.'
                WHEN 'tls' THEN CASE
                    WHEN k.last_error LIKE '%invalid peer certificate%' THEN
                        'The certificate is not good for that name, or nobody that is trusted has signed it: pg_webhook.ca_file adds whom to trust.'
                    WHEN k.last_error LIKE '%is it http%' THEN
                        'The port of the URL does not speak TLS. Correct the port with %1$s.webhook_update, or have the receiver speak https there.'
                    WHEN k.last_error LIKE '%needs https%' THEN
                        'The port of the URL speaks TLS. Give the webhook a URL with https, with %1$s.webhook_update.'
                    ELSE
                        'The receiver and this server do not come to a connection with TLS: see what of TLS the receiver asks for.'
                END
                WHEN 'timeout' THEN
                    'There was no answer within timeout_seconds.'
                WHEN 'http_status' THEN pg_catalog.concat(
                    CASE
                        WHEN k.last_error ~ '^http_status: status (5..|408|429)' THEN 'The receiver is not well, or has too much to do'
                        WHEN k.last_error LIKE 'http_status: status 410%' THEN 'The receiver wants no more of these'
                        ELSE 'The receiver refuses what it gets'
                    END,
                    ': webhook.attempts has its answers.'
                )
                WHEN 'redirect' THEN
                    'Redirects are not followed. %1$s.webhook_update gives the webhook the URL that it points to.'
                ELSE
                    'See webhook.attempts for each of them.'
            END,
            CASE
                WHEN w.paused THEN ' Nothing is sent again before the webhook is resumed.'
                WHEN w.max_retries = 0 THEN ' No event is sent again (max_retries): what fails is a dead letter.'
                WHEN w.retry_for = '0' THEN ' No event is sent again (retry_for): what fails is a dead letter.'
                ELSE pg_catalog.concat(
                    ' An event that fails is sent again until retry_for is over',
                    ', ' || w.max_retries || ' times at most (max_retries)',
                    ', unless the answer forbids it; then it is a dead letter.'
                )
            END
        )
    WHERE k.fail_count > 0 AND e.webhook IS NULL
    UNION ALL
    SELECT
        6,
        'warning',
        'sending',
        pg_catalog.format(
            'nothing is sent before %s, because %s requests in a row have failed',
            pg_catalog.date_trunc('second', k.held_until), k.unwell
        ),
        'Then one event is sent, and all others as soon as one is answered. SELECT %1$s.webhook_resume(%2$L::text) sends one now.'
    WHERE k.held_until > pg_catalog.clock_timestamp()
    UNION ALL
    SELECT
        6,
        'error',
        'transform',
        -- Not by what: that can hold parts of a row, which whoever monitors is not to see.
        pg_catalog.format('the transform fails, the last time at %s', pg_catalog.date_trunc('second', d.created_at)),
        'Its events become dead letters, with the error. When it is mended, SELECT %1$s.webhook_replay(id) FROM webhook.dead_letters WHERE webhook_id = %2$L transforms and sends them.'
    WHERE d.failure IS NOT NULL
    UNION ALL
    SELECT
        7,
        'notice',
        'sending',
        pg_catalog.format('events wait, because no more than %s requests start in a second (rate_limit)', w.rate_limit),
        'SELECT %1$s.webhook_update(%2$L::text, rate_limit => ..) lets more of them start; 0 is for no limit.'
    WHERE k.throttled AND w.rate_limit IS NOT NULL
    UNION ALL
    SELECT
        8,
        'warning',
        'sending',
        pg_catalog.format(
            'dead letters hold up %s others of their keys; the oldest of them is %s', o.held, o.oldest
        ),
        'SELECT %1$s.webhook_replay(id) FROM webhook.dead_letters WHERE webhook_id = %2$L sends them in their places; %1$s.webhook_cancel lets those behind one go without it.'
    FROM (
        SELECT
            (SELECT pg_catalog.sum(s.count) FROM webhook.at_stage AS s WHERE s.webhook = w.id AND s.stage = 4) AS held,
            (
                SELECT p.id
                FROM webhook.pending AS p
                WHERE p.webhook_id = w.uuid AND p.stage >= 2 AND p.stage <= 2
                  AND EXISTS (SELECT FROM webhook.place AS a WHERE a.delivery = p.id)
                  AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid)
                ORDER BY p.stage, p.id
                LIMIT 1
            ) AS oldest
    ) AS o
    WHERE w.ordered AND o.held > 0 AND o.oldest IS NOT NULL
) AS h
WHERE w.deleted_at IS NULL;
COMMENT ON VIEW webhook.hindrance IS
    'private: what somebody wants to be so, and what the worker has found out, that keeps events of webhooks';

CREATE VIEW webhook.trouble AS
SELECT
    p.webhook, CASE p.severity WHEN 'error' THEN 2 END AS rank, p.severity, p.stage, p.problem, p.hint, p.hint_for_owner
FROM webhook.problem AS p
UNION ALL
SELECT u.webhook, 4, u.severity, 'sending', u.problem, u.hint, u.hint FROM webhook.unarmed AS u
UNION ALL
SELECT h.webhook, h.rank, h.severity, h.stage, h.problem, h.hint, h.hint FROM webhook.hindrance AS h
UNION ALL
SELECT b.webhook, 7, b.severity, 'sending', b.problem, b.hint, b.hint FROM webhook.reached_bound AS b;
COMMENT ON VIEW webhook.trouble IS 'private: what keeps events of each webhook from arriving, or may';

-- What webhook.webhooks shows of that. How requests have ended while they were sent is of no matter where none is.
CREATE VIEW webhook.told AS
SELECT
    t.webhook,
    pg_catalog.min(t.rank) AS rank,
    pg_catalog.string_agg(t.problem, '; ' ORDER BY t.problem) FILTER (WHERE t.rank = 1) AS disabled,
    pg_catalog.string_agg(t.problem, '; ' ORDER BY t.problem) FILTER (WHERE t.rank = 2) AS broken,
    pg_catalog.string_agg(t.problem, '; ' ORDER BY t.rank, t.problem) FILTER (WHERE t.rank IN (4, 5, 7, 8)) AS others,
    pg_catalog.string_agg(t.problem, '; ' ORDER BY t.problem) FILTER (WHERE t.rank = 6) AS failing
FROM webhook.trouble AS t
WHERE t.rank IS NOT NULL
GROUP BY t.webhook;
COMMENT ON VIEW webhook.told IS 'private: of each webhook that has any, the trouble that counts, and what to say of it';
