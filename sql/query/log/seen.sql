-- The webhooks that role $1 may see, deleted ones among them; $2, if that is one, where it is not NULL.
SELECT w.uuid, w.name, w.deleted_at IS NOT NULL AS deleted
FROM webhook.owned AS w
WHERE ($2 IS NULL OR w.id = $2)
  AND (
      pg_has_role($1, w.role, 'USAGE')
      OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role($1, l.role, 'USAGE'))
  )
