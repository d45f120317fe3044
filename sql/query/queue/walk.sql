-- The $2 newest rows of the backlog before id $1, each with the bytes of its body, the times that its age is counted from, whether
-- it has been cancelled, whether it is the first of a key in an order, and whether somebody has ended it, which webhook.closed says.
SELECT
    p.id,
    p.xid,
    p.webhook,
    octet_length(p.payload) AS bytes,
    p.next_at,
    coalesce(p.first_attempt_at, CASE WHEN p.stage = 4 THEN p.created_at ELSE p.next_at END) AS since,
    p.stage = 4 AS held,
    p.dead_at,
    p.stage = 3 AS cancelled,
    -- nothing is shed that others are behind
    p.stage < 2 AND EXISTS (SELECT FROM webhook.place AS o WHERE o.delivery = p.id) AS first,
    (SELECT true FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid) IS NOT NULL AS closed
FROM webhook.pending AS p
WHERE p.id < $1
ORDER BY p.id DESC
LIMIT $2
