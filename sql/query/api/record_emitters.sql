-- Whoever arms a copy takes the roles that have these names there. One that is gone has the number of none, so that nobody
-- else is taken for it later.
INSERT INTO webhook.emitter_role (webhook, name, role)
SELECT w.id, e.name, coalesce(r.oid, 0)
FROM webhook.webhook AS w
CROSS JOIN LATERAL unnest(w.emitters) AS e (name)
LEFT JOIN pg_roles AS r ON r.rolname::text = e.name
WHERE w.deleted_at IS NULL
ON CONFLICT DO NOTHING
