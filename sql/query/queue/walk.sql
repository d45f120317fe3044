-- The $2 newest rows of the backlog before id $1, each with the bytes of its body, the times that its age is counted from, whether
-- it has been cancelled, and whether somebody has ended it, which webhook.closed says.
SELECT
    p.id,
    p.xid,
    p.webhook,
    octet_length(p.payload) AS bytes,
    p.next_at,
    coalesce(p.first_attempt_at, p.next_at) AS since,
    p.dead_at,
    p.stage = 3 AS cancelled,
    (SELECT true FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid) IS NOT NULL AS closed
FROM webhook.pending AS p
WHERE p.id < $1
ORDER BY p.id DESC
LIMIT $2
