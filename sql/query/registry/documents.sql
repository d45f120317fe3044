-- The live webhooks that belong to role $1, or webhook $2 alone if it is one of them: what they would be made of. Intervals are
-- written as the session has it. What follows in the order of src/registry/definition.rs is also in wanted.sql.
SELECT
    w.uuid,
    w.name,
    w.created_at,
    jsonb_build_object(
        'url', w.url,
        'format', w.format,
        'signature', w.signature,
        'signature_header', w.signature_header,
        'events', w.event_types,
        'emitters', ARRAY(SELECT e.role::regrole::text FROM webhook.heard AS e WHERE e.webhook = w.id ORDER BY e.name COLLATE "C"),
        'transform', (SELECT f.function FROM webhook.chosen_transform AS f WHERE f.webhook = w.id),
        'description', w.description,
        'enabled', w.enabled,
        'on_transform_error', w.on_transform_error,
        'max_retries', w.max_retries,
        'timeout_seconds', w.timeout_seconds,
        'retry_backoff_seconds', w.retry_backoff_seconds,
        'retry_for', w.retry_for,
        'max_concurrency', w.max_concurrency,
        'rate_limit', w.rate_limit,
        'max_backlog', w.max_backlog,
        'max_backlog_bytes', w.max_backlog_bytes,
        'max_backlog_age', w.max_backlog_age,
        'dead_letter_retention', w.dead_letter_retention,
        'disable_after', w.disable_after,
        'batch_size', w.batch_size,
        'batch_bytes', w.batch_bytes,
        'batch_wait', w.batch_wait,
        'batch_format', w.batch_format,
        'ordering', w.ordering,
        'order_key', w.order_key,
        'on_failure', w.on_failure
    ) AS settings,
    coalesce(t.tables, '{}') AS tables,
    t.unsound,
    -- what it watches that has been dropped
    ARRAY(
        SELECT format('%I.%I', v.schema_name, v.table_name)
        FROM webhook.watch AS v
        WHERE v.webhook = w.uuid AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = v.relation)
    ) AS lost,
    w.applied,
    w.named,
    -- those that a dump has lost as well
    coalesce((SELECT jsonb_object_agg(h.name, NULL) FROM unnest(w.header_names) AS h (name)), '{}') || coalesce(s.headers, '{}') AS headers,
    s.signing_key
FROM webhook.owned AS w
LEFT JOIN webhook.secret AS s ON s.webhook = w.id
CROSS JOIN LATERAL (
    SELECT
        jsonb_object_agg(
            format('%I.%I', n.nspname, c.relname),
            jsonb_strip_nulls(jsonb_build_object(
                'events', v.events,
                'columns', u.names,
                'condition', v.condition,
                'payload_columns', (
                    SELECT array_agg(coalesce(p.name, p.named) ORDER BY p.position)
                    FROM webhook.payload_column AS p
                    WHERE p.watch = v.id
                )
            ))
        ) AS tables,
        -- those with a trigger that is missing, or not as it was made
        coalesce(
            array_agg(v.relation) FILTER (
                WHERE EXISTS (
                    SELECT FROM webhook.watched_trigger AS g WHERE g.watch = v.id AND NOT (g.ours AND g.unchanged)
                )
            ),
            '{}'
        ) AS unsound
    FROM webhook.watch AS v
    JOIN webhook.update_columns AS u ON u.watch = v.id
    JOIN pg_class AS c ON c.oid = v.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE v.webhook = w.uuid
) AS t
WHERE w.role = $1
  AND w.deleted_at IS NULL
  -- A range, so that one is found by the index, whatever it is planned for.
  AND w.id >= coalesce($2, 1)
  AND w.id <= coalesce($2, 2147483647)
ORDER BY w.name
