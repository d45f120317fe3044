-- Batches of which nothing waits. Not while one may be under way.
DELETE FROM webhook.batch AS b WHERE NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.batch = b.id)
