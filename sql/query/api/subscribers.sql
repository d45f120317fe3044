-- The webhooks that are told of events which role $1 emits: its own, those of roles that it acts for or
-- that act for it, and those of superusers and admins. Members are strangers to each other.
SELECT w.id, w.event_types
FROM webhook.webhook AS w
WHERE w.deleted_at IS NULL
  AND w.enabled
  AND w.event_types <> '{}'
  AND (
      pg_has_role($1, w.owner::oid, 'USAGE')
      OR pg_has_role(w.owner::oid, $1, 'USAGE')
      OR EXISTS (
          SELECT FROM webhook.level AS l
          WHERE l.level = 'admin' AND pg_has_role(w.owner::oid, l.role::oid, 'USAGE')
      )
  )
ORDER BY w.id
