-- Writes events of the ring into it once more, each under an id of its own, because another delivery has
-- theirs. A replay keeps the id of the event that it repeats.
WITH original AS (
    SELECT
        e.id, e.xid, e.created_at, e.webhook, e.event_type, e.schema_name, e.table_name, e.event_id, e.payload, e.failure,
        e.keys, e.replaces
    FROM unnest($1, $2, $3) AS u (slot, xid, id)
    JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id = u.id
), closed AS (
    INSERT INTO webhook.closed (delivery, xid, how, settled)
    SELECT o.id, o.xid, 'renewed', true FROM original AS o
    ON CONFLICT DO NOTHING
    RETURNING delivery, xid
), renewed AS (
    SELECT
        pg_current_xact_id() AS xid, webhook.next_id() AS id, o.created_at, o.webhook, r.slot,
        o.event_type, o.schema_name, o.table_name, o.event_id, o.payload, o.failure, o.keys, o.replaces
    FROM original AS o
    JOIN closed AS c ON c.delivery = o.id AND c.xid = o.xid
    CROSS JOIN webhook.ring AS r
)
SELECT webhook.put('event_' || renewed.slot, renewed) FROM renewed
