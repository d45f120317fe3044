-- Events of the ring, in slots $1, of transactions $2, with ids $3, take places $4 in the order of their keys: where $5, those that replay
-- others, which take the places of these, or else all others. What a transform has made dead has none where that holds up nothing.
INSERT INTO webhook.place (delivery, number, webhook, key, position)
SELECT
    e.id, k.number, e.webhook, k.key,
    coalesce((SELECT min(o.position) FROM webhook.place AS o WHERE o.delivery = e.replaces), u.position)
FROM unnest($1, $2, $3, $4) AS u (slot, xid, id, position)
JOIN webhook.event AS e ON e.slot = u.slot AND e.xid = u.xid AND e.id = u.id
JOIN webhook.webhook AS w ON w.id = e.webhook AND w.deleted_at IS NULL
CROSS JOIN LATERAL (
    SELECT t.number::smallint AS number, t.key FROM unnest(e.keys) WITH ORDINALITY AS t (key, number)
    UNION ALL
    SELECT 0, NULL WHERE e.keys = '{}'
) AS k
WHERE (e.replaces IS NOT NULL) = $5
  AND NOT (e.failure IS NOT NULL AND w.on_failure = 'skip')
  AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = e.id)
ON CONFLICT DO NOTHING
