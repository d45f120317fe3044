-- What events of webhook $1 need, wherever they come from. No row where it is deleted.
SELECT
    w.enabled,
    w.uuid::text AS uuid,
    w.name,
    w.format,
    w.anchor,
    w.owner,
    o.type AS owner_type,
    h.id AS installation,
    r.slot,
    format('webhook.event_%s', r.slot)::regclass::oid AS relation,
    'webhook.delivery_id_seq'::regclass::oid AS sequence,
    w.on_transform_error = 'fail' AS fails,
    w.owner_name,
    w.ordering,
    w.order_key,
    o.confirmed,
    CASE WHEN NOT h.is_here THEN h.since::text::bigint END AS copied
FROM webhook.webhook AS w
LEFT JOIN webhook.owner AS o ON o.anchor = w.owner
CROSS JOIN webhook.ring AS r
CROSS JOIN webhook.home AS h
WHERE w.id = $1 AND w.deleted_at IS NULL
