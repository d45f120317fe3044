-- The webhooks that hear events which role $1 emits: those of roles that it is a member of or that are members of it,
-- itself among them, and those that name it, or a role that it is a member of, among their emitters. Memberships are
-- those that somebody has granted: a superuser is a member of no role by itself. One without INHERIT and SET
-- (PostgreSQL 16) gives no rights, and counts for nothing.
WITH RECURSIVE membership AS (
    SELECT m.roleid AS role, m.member
    FROM pg_auth_members AS m
    WHERE coalesce((to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true)
), above (role) AS (
    SELECT $1::oid
    UNION
    SELECT m.role FROM above JOIN membership AS m ON m.member = above.role
), below (role) AS (
    SELECT $1::oid
    UNION
    SELECT m.member FROM below JOIN membership AS m ON m.role = below.role
)
SELECT w.id, w.event_types, w.enabled
FROM webhook.webhook AS w
WHERE w.deleted_at IS NULL
  AND w.event_types <> '{}'
  AND (
      w.owner::oid IN (SELECT role FROM above)
      OR w.owner::oid IN (SELECT role FROM below)
      OR EXISTS (
          SELECT FROM above JOIN pg_roles AS r ON r.oid = above.role WHERE r.rolname::text = ANY (w.emitters)
      )
  )
ORDER BY w.id
