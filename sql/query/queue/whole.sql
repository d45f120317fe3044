-- Of these batches those of which all deliveries wait, each with its deliveries, in the order in which they were sent.
SELECT
    b.shape, p.batch, p.webhook, p.next_at, p.id, p.xid, coalesce(p.imported, p.xid) AS written, p.attempts, p.first_attempt_at, p.event_id,
    p.payload, p.event_slot
FROM unnest($1) AS u (id)
JOIN webhook.batch AS b ON b.id = u.id
CROSS JOIN LATERAL (
    SELECT
        q.*,
        count(*) OVER () AS count
    FROM webhook.pending AS q
    WHERE q.batch = b.id
      AND q.next_at < 'infinity'
      AND (SELECT true FROM webhook.closed AS c WHERE c.delivery = q.id AND c.xid = q.xid) IS NULL
) AS p
WHERE p.count = cardinality(b.deliveries)
ORDER BY p.batch, array_position(b.deliveries, p.id)
