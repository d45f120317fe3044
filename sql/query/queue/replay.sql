-- The events of deliveries $1, of transactions $2, each in slot $3 of the ring or, where that is NULL, in the backlog, as they are to be
-- written into the ring once more: the same body under the same event id. Not those whose bodies are gone. Each with the id that it
-- has then, which is drawn in the order of the arrays.
SELECT
    r.relation, NULL::tid AS position, t.id, t AS row
FROM (
    SELECT
        pg_current_xact_id() AS xid, webhook.next_id() AS id, clock_timestamp() AS created_at, o.webhook, g.slot,
        o.event_type, o.schema_name, o.table_name, coalesce(o.event_id, format('evt_%s_%s', i.id, o.id)) AS event_id, o.payload, o.keys
    FROM (
        SELECT u.number, e.*
        FROM unnest($1, $2, $3) WITH ORDINALITY AS u (id, xid, slot, number)
        CROSS JOIN LATERAL (
            SELECT v.id, v.webhook, v.event_type, v.schema_name, v.table_name, v.event_id, v.payload, v.keys
            FROM webhook.event AS v
            WHERE v.slot = u.slot AND v.xid = u.xid AND v.id = u.id
            UNION ALL
            SELECT p.id, p.webhook, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.keys
            FROM webhook.pending AS p
            WHERE u.slot IS NULL AND p.xid = u.xid AND p.id = u.id
        ) AS e
        WHERE octet_length(e.payload) > 0
        ORDER BY u.number
    ) AS o
    CROSS JOIN webhook.ring AS g
    CROSS JOIN webhook.installation AS i
    OFFSET 0
) AS t
CROSS JOIN (SELECT format('webhook.event_%s', g.slot)::regclass::oid AS relation FROM webhook.ring AS g) AS r
