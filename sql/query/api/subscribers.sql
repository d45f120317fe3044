-- The webhooks that hear events which role $1 emits: its own, those of roles that it is a member of, and those that name
-- it, or a role that it is a member of, among their emitters. Not those of members of $1: whoever may grant a role could
-- send them what they have not asked for. A membership with neither INHERIT nor SET (PostgreSQL 16) gives no rights.
WITH RECURSIVE above (role) AS (
    SELECT $1::oid
    UNION
    SELECT m.roleid
    FROM above
    JOIN pg_auth_members AS m ON m.member = above.role
    WHERE coalesce((to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true)
)
-- Whether its transform may run in the emitter's session, and whether an error of it may be the emitter's: only whose
-- owner has the emitter's rights could do that without us.
SELECT
    w.id,
    w.event_types,
    w.enabled,
    w.role IN (SELECT role FROM above) AS runs,
    pg_has_role(w.role, $1, 'USAGE') AS has_rights,
    pg_get_userbyid($1)::text AS emitter
FROM webhook.owned AS w
WHERE w.deleted_at IS NULL
  -- its owner may be gone
  AND w.role IS NOT NULL
  AND w.event_types <> '{}'
  AND (
      w.role IN (SELECT role FROM above)
      OR w.id IN (SELECT h.webhook FROM webhook.heard AS h WHERE h.role IN (SELECT role FROM above))
  )
ORDER BY w.id
