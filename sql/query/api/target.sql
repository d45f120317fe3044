-- Where an event of webhook $1 goes.
SELECT
    r.slot,
    format('webhook.event_%s', r.slot)::regclass::oid,
    'webhook.delivery_id_seq'::regclass::oid,
    i.id,
    w.uuid::text
FROM webhook.webhook AS w
CROSS JOIN webhook.ring AS r
CROSS JOIN webhook.installation AS i
WHERE w.id = $1
