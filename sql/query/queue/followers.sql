-- Of each of deliveries $1, those that are behind it in the order of its key, $2 at most: not where it has several keys, or something
-- waits for all keys of its webhook. Whether one waits for nothing else: its line ends with the first that does, or is not held.
SELECT
    h.delivery AS head, h.key,
    coalesce(p.stage = 4, false)
    AND NOT EXISTS (SELECT FROM webhook.place AS o WHERE o.delivery = n.delivery AND o.number <> n.number) AS follows,
    p.webhook, p.id, p.xid, coalesce(p.imported, p.xid) AS written, p.attempts, p.first_attempt_at, p.event_id, p.event_slot, p.batch,
    CASE WHEN (SELECT true FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid) THEN NULL ELSE p.payload END AS payload
FROM unnest($1, $2) WITH ORDINALITY AS u (id, most, number)
JOIN webhook.place AS h ON h.delivery = u.id AND h.key IS NOT NULL
CROSS JOIN LATERAL (
    SELECT o.delivery, o.number, o.position
    FROM webhook.place AS o
    WHERE o.webhook = h.webhook AND o.key = h.key AND o.position > h.position
    ORDER BY o.position
    LIMIT u.most
) AS n
LEFT JOIN webhook.pending AS p ON p.id = n.delivery
WHERE NOT EXISTS (SELECT FROM webhook.place AS o WHERE o.delivery = h.delivery AND o.number <> h.number)
  AND NOT EXISTS (SELECT FROM webhook.place AS o WHERE o.webhook = h.webhook AND o.key IS NULL)
ORDER BY u.number, n.position
