-- What the trigger of webhook $1 on relation $2 needs. A partition speaks for the table that was
-- registered.
SELECT
    w.uuid::text,
    w.enabled,
    n.nspname::text,
    c.relname::text,
    (
        SELECT (string_to_array(x.indkey::text, ' ')::smallint[])[:x.indnkeyatts]
        FROM pg_index AS x
        WHERE x.indrelid = $2 AND x.indisprimary
    ),
    i.id,
    r.slot,
    format('webhook.event_%s', r.slot)::regclass::oid,
    'webhook.delivery_id_seq'::regclass::oid,
    c.oid
FROM webhook.webhook AS w
CROSS JOIN webhook.ring AS r
CROSS JOIN webhook.installation AS i
JOIN pg_class AS c ON c.oid = coalesce(
    (
        SELECT watch.relation
        FROM pg_partition_ancestors($2) WITH ORDINALITY AS a (relation, distance)
        JOIN webhook.watch ON watch.webhook = w.id AND watch.relation = a.relation
        ORDER BY a.distance
        LIMIT 1
    ),
    $2
)
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE w.id = $1 AND w.deleted_at IS NULL
