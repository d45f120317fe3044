-- What the worker needs of all webhooks, or of one.
SELECT
    w.id,
    w.url,
    w.enabled,
    w.paused,
    w.signature,
    w.max_retries,
    w.timeout_seconds,
    w.retry_backoff_seconds,
    extract(epoch FROM w.retry_for)::bigint AS retry_for,
    w.max_concurrency,
    s.signing_key,
    s.headers,
    coalesce(k.fail_count, 0) AS fail_count,
    w.rate_limit,
    w.batch_size,
    w.batch_bytes,
    coalesce(extract(epoch FROM w.batch_wait) * 1000, 0)::bigint AS batch_wait,
    w.batch_format,
    w.ordered,
    w.ordering <> 'none' AND w.on_failure = 'block' AS blocks,
    w.on_failure <> 'skip' AS holds,
    w.format,
    w.signature_header,
    s.previous_keys,
    ARRAY(
        SELECT ceil(extract(epoch FROM p.until))::bigint
        FROM unnest(s.previous_until) WITH ORDINALITY AS p (until, position)
        ORDER BY p.position
    ) AS previous_until,
    h.is_here AND w.installation = h.id AS is_armed,
    l.webhook IS NULL AS is_complete,
    l.headers AS lacked_headers,
    w.updated_at,
    coalesce(k.unwell, 0) AS unwell,
    extract(epoch FROM w.disable_after)::bigint AS disable_after,
    -- as it is now, or was when it was last changed
    CASE WHEN k.fail_count > 0 AND k.failing_since > w.updated_at THEN k.failing_since END AS failing_since,
    coalesce(k.throttled, false) AS throttled
FROM webhook.owned AS w
CROSS JOIN webhook.home AS h
LEFT JOIN webhook.secret AS s ON s.webhook = w.id
LEFT JOIN webhook.health AS k ON k.webhook = w.id
LEFT JOIN webhook.lacking AS l ON l.webhook = w.id
WHERE w.deleted_at IS NULL
  AND w.role IS NOT NULL
  AND ($1 IS NULL OR w.id = $1)
