-- What events of webhook $1 need, wherever they come from. No row where it is deleted or its owner is gone.
SELECT
    w.enabled,
    w.uuid::text,
    w.name,
    w.format,
    w.anchor,
    w.role,
    i.id,
    r.slot,
    format('webhook.event_%s', r.slot)::regclass::oid,
    'webhook.delivery_id_seq'::regclass::oid,
    w.on_transform_error = 'fail',
    w.confirmed,
    w.owner_name,
    pg_get_userbyid(w.role)::text
FROM webhook.owned AS w
CROSS JOIN webhook.ring AS r
CROSS JOIN webhook.installation AS i
WHERE w.id = $1 AND w.deleted_at IS NULL AND w.role IS NOT NULL
