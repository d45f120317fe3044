-- Whoever arms a copy takes the roles that have these names there.
INSERT INTO webhook.emitter_role (webhook, name, role)
SELECT w.id, r.rolname::text, r.oid
FROM webhook.webhook AS w
CROSS JOIN LATERAL unnest(w.emitters) AS e (name)
JOIN pg_roles AS r ON r.rolname::text = e.name
WHERE w.deleted_at IS NULL
ON CONFLICT DO NOTHING
