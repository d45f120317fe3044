-- Writes the events of deliveries $1, of transactions $2, into the ring once more without their bodies, and returns where they were
-- before, to be removed: not by DELETE, for which they have no key.
WITH old AS MATERIALIZED (
    SELECT
        e.tableoid AS relation, e.ctid AS position,
        e.xid, e.id, e.created_at, e.webhook, e.slot, e.event_type, e.schema_name, e.table_name, e.event_id,
        CASE WHEN e.failure IS NOT NULL THEN 'erased' END AS failure,
        e.key
    FROM unnest($1, $2) AS u (id, xid)
    JOIN webhook.event AS e ON e.xid = u.xid::text::xid8 AND e.id = u.id
    WHERE e.payload <> ''
), put AS MATERIALIZED (
    SELECT webhook.put('event_' || n.slot, n)
    FROM (
        SELECT
            o.xid, o.id, o.created_at, o.webhook, o.slot, o.event_type, o.schema_name, o.table_name, o.event_id, '' AS payload,
            o.failure, o.key
        FROM old AS o
    ) AS n
)
SELECT o.relation, o.position FROM old AS o WHERE (SELECT count(*) FROM put) >= 0
