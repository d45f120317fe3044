-- The same for what the log has of their answers and errors.
WITH old AS MATERIALIZED (
    SELECT a.tableoid AS relation, a.ctid AS position, a.*
    FROM unnest($1, $2) AS u (id, xid)
    CROSS JOIN LATERAL (
        SELECT n.tableoid, n.ctid, n.*
        FROM webhook.attempt AS n
        WHERE n.delivery = u.id AND n.xid = u.xid::text::xid8 AND n.verdict IN ('delivered', 'failed')
        UNION ALL
        SELECT n.tableoid, n.ctid, n.*
        FROM webhook.attempt AS n
        WHERE n.delivery = u.id AND n.xid = u.xid::text::xid8 AND n.verdict <> 'delivered' AND n.verdict <> 'failed'
    ) AS a
    WHERE a.error IS NOT NULL OR a.response_body IS NOT NULL
), put AS MATERIALIZED (
    SELECT webhook.put('attempt_' || n.slot, n)
    FROM (
        SELECT
            o.delivery, o.xid, o.started_at, o.duration_us, o.attempt, o.slot, o.status_code, o.webhook_id, o.verdict, o.error_class,
            o.event_slot
        FROM old AS o
    ) AS n
)
SELECT o.relation, o.position FROM old AS o WHERE (SELECT count(*) FROM put) >= 0
