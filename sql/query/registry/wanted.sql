-- What documents.sql says of a webhook with these settings, as src/registry/document.rs passes them: from $8 on the plain ones,
-- as update.sql takes them.
SELECT jsonb_build_object(
    'url', $1,
    'format', $2,
    'signature', $3,
    'signature_header', nullif($4, ''),
    'events', $5,
    'emitters', ARRAY(
        SELECT DISTINCT ON (r.rolname) r.oid::regrole::text
        FROM unnest($6) AS e (role)
        JOIN pg_roles AS r ON r.oid = e.role
        ORDER BY r.rolname
    ),
    'transform', (SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.oid = $7),
    'description', nullif($8, ''),
    'enabled', $9,
    'on_transform_error', $10,
    'max_retries', nullif($11, -1),
    'timeout_seconds', $12,
    'retry_backoff_seconds', $13,
    'retry_for', $14,
    'max_concurrency', $15,
    'rate_limit', nullif($16, 0),
    'max_backlog', nullif($17, 0),
    'max_backlog_bytes', nullif($18, 0),
    'max_backlog_age', nullif($19, interval '0'),
    'dead_letter_retention', nullif($20, interval '0'),
    'disable_after', nullif($21, interval '0'),
    'batch_size', $22,
    'batch_bytes', $23,
    'batch_wait', nullif($24, interval '0'),
    'batch_format', $25,
    'ordering', $26,
    'order_key', nullif($27, '{}'),
    'on_failure', $28
) AS settings
