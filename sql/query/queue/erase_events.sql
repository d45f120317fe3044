-- Of the events of deliveries $1, of transactions $2, in slots $3 of the ring, those whose bodies the path of job $4 finds something in,
-- or all where it is NULL or has none: where they are, and what is to be there, without their bodies; not by UPDATE, for which they have
-- no key. And those whose bodies cannot be looked into, with NULL for whether it finds something.
SELECT o.id, o.xid, o.slot, o.found, o.relation, o.position, n AS row
FROM (
    SELECT
        e.tableoid AS relation, e.ctid AS position,
        e.xid, e.id, e.created_at, e.webhook, e.slot, e.event_type, e.schema_name, e.table_name, e.event_id, e.failure, e.keys,
        CASE WHEN k.path IS NULL THEN true ELSE webhook.finds(e.payload, k.path) END AS found
    FROM unnest($1, $2, $3) AS u (id, xid, slot)
    CROSS JOIN LATERAL (
        SELECT v.tableoid, v.ctid, v.*
        FROM webhook.event AS v
        WHERE v.slot = u.slot AND v.xid = u.xid AND v.id = u.id AND octet_length(v.payload) > 0
    ) AS e
    LEFT JOIN webhook.job_path AS k ON k.job = $4
    -- Each is looked into once.
    OFFSET 0
) AS o
CROSS JOIN LATERAL (
    SELECT
        o.xid, o.id, o.created_at, o.webhook, o.slot, o.event_type, o.schema_name, o.table_name, o.event_id, '' AS payload,
        CASE WHEN o.failure IS NOT NULL THEN 'erased' END AS failure,
        o.keys
) AS n
WHERE o.found IS DISTINCT FROM false
