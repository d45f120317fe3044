-- Whoever arms a copy takes its columns as they are called there. A list of which one is gone stays a list of names.
INSERT INTO webhook.watch_payload (watch, numbers)
SELECT p.watch, array_agg(p.number ORDER BY p.position)
FROM webhook.payload_column AS p
WHERE NOT EXISTS (SELECT FROM webhook.watch_payload AS r WHERE r.watch = p.watch)
GROUP BY p.watch
HAVING bool_and(p.number IS NOT NULL)
