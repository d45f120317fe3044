-- Events of the ring which have an order, in slots $1, of transactions $2, from ids $3 to $4 on. Without its body one is not sent from
-- memory, because it has been cancelled. Whether one has to be in the backlog: something with one of its keys is there, or it comes into
-- the place of another.
SELECT
    e.slot, e.xid, e.id, e.webhook, e.event_id, e.failure, e.keys,
    CASE
        WHEN EXISTS (SELECT FROM webhook.closed)
            AND (SELECT true FROM webhook.closed AS c WHERE c.delivery = e.id AND c.xid = e.xid) THEN NULL
        ELSE e.payload
    END AS payload,
    e.replaces IS NOT NULL
    OR EXISTS (
        SELECT
        FROM unnest(e.keys) AS k (key)
        CROSS JOIN LATERAL (
            SELECT FROM webhook.place AS o WHERE o.webhook = e.webhook AND o.key = k.key LIMIT 1
        ) AS o
    )
    OR e.webhook IN (SELECT o.webhook FROM webhook.place AS o WHERE o.key IS NULL) AS is_behind
FROM unnest($1, $2, $3, $4) AS u (slot, xid, first, last)
JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id BETWEEN u.first AND u.last
WHERE e.keys IS NOT NULL
  -- one that has been erased is not to be sent
  AND e.payload <> ''
