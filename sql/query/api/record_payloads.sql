-- Whoever arms a copy takes its columns as they are called there. One that is gone has the number of none, so that nothing
-- else is taken for it later.
INSERT INTO webhook.watch_payload (watch, numbers)
SELECT p.watch, array_agg(coalesce(p.number, 0) ORDER BY p.position)
FROM webhook.payload_column AS p
WHERE NOT EXISTS (SELECT FROM webhook.watch_payload AS r WHERE r.watch = p.watch)
GROUP BY p.watch
