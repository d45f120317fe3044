-- What the log has of the answers and errors of deliveries $1, whose events transactions $2 wrote: where it is, and what is to be there,
-- without them. Each slot that has attempts with ids like these is asked for each of these, the others once for all.
WITH slots AS MATERIALIZED (
    SELECT
        s.slot,
        EXISTS (
            SELECT FROM webhook.attempt AS n
            WHERE n.slot = s.slot AND n.delivery BETWEEN r.first AND r.last AND n.verdict IN ('delivered', 'failed')
        ) AS ended,
        EXISTS (
            SELECT FROM webhook.attempt AS n
            WHERE n.slot = s.slot AND n.delivery BETWEEN r.first AND r.last AND n.verdict <> 'delivered' AND n.verdict <> 'failed'
        ) AS undelivered
    FROM (SELECT min(u.id) AS first, max(u.id) AS last FROM unnest($1) AS u (id)) AS r
    CROSS JOIN (SELECT g.slot::smallint FROM generate_series(0, 7) AS g (slot)) AS s
)
SELECT a.relation, a.position, n AS row
FROM slots AS s
CROSS JOIN unnest($1, $2) AS u (id, xid)
CROSS JOIN LATERAL (
    SELECT e.tableoid AS relation, e.ctid AS position, e.*
    FROM webhook.attempt AS e
    WHERE s.ended AND e.slot = s.slot AND e.delivery = u.id AND e.xid = u.xid AND e.verdict IN ('delivered', 'failed')
    UNION ALL
    SELECT e.tableoid, e.ctid, e.*
    FROM webhook.attempt AS e
    WHERE s.undelivered AND e.slot = s.slot AND e.delivery = u.id AND e.xid = u.xid AND e.verdict <> 'delivered' AND e.verdict <> 'failed'
) AS a
CROSS JOIN LATERAL (
    SELECT
        a.delivery, a.xid, a.started_at, a.duration_us, a.attempt, a.slot, a.status_code, a.webhook_id, a.verdict, a.error_class,
        a.event_slot
) AS n
WHERE (s.ended OR s.undelivered) AND (a.error IS NOT NULL OR a.response_body IS NOT NULL)
