-- The live webhook of this name or uuid that the role may see (see webhook.visible).
SELECT w.id
FROM webhook.webhook AS w
WHERE (w.name = $1 OR w.uuid::text = lower($1))
  AND w.deleted_at IS NULL
  AND (
      pg_has_role($2, w.owner::oid, 'USAGE')
      OR EXISTS (SELECT FROM webhook.level AS l WHERE l.level = 'admin' AND pg_has_role($2, l.role::oid, 'USAGE'))
  )
