-- The webhooks that hear events which role $1 emits: those of roles that it is a member of or that are members of it,
-- itself among them, and those that name it, or a role that it is a member of, among their emitters.
WITH RECURSIVE above (role) AS (
    SELECT webhook.acts_for($1)
), below (role) AS (
    SELECT $1::oid
    UNION
    SELECT m.member FROM below JOIN webhook.membership AS m ON m.role = below.role
)
SELECT w.id, w.event_types, w.enabled
FROM webhook.owned AS w
WHERE w.deleted_at IS NULL
  AND w.event_types <> '{}'
  AND (
      w.role IN (SELECT role FROM above)
      OR w.role IN (SELECT role FROM below)
      OR EXISTS (
          SELECT FROM above JOIN pg_roles AS r ON r.oid = above.role WHERE r.rolname::text = ANY (w.emitters)
      )
  )
ORDER BY w.id
