-- The webhook with uuid $1.
SELECT (SELECT w.id FROM webhook.webhook AS w WHERE w.uuid = $1 AND w.deleted_at IS NULL) AS id, $1::text AS uuid
