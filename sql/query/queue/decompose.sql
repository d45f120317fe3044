-- These are sent no more.
DELETE FROM webhook.batch AS b WHERE b.id = ANY ($1)
