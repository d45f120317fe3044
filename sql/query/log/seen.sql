-- The webhooks that role $1 may see, deleted ones among them; $2, if that is one, where it is not NULL. Whoever monitors only sees no
-- bodies and answers.
SELECT s.uuid, s.name, s.deleted, s.with_contents
FROM (
    SELECT
        w.uuid,
        w.name,
        w.deleted_at IS NOT NULL AS deleted,
        coalesce(pg_has_role($1, w.role, 'USAGE'), false)
        OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role($1, l.role, 'USAGE')) AS with_contents
    FROM webhook.owned AS w
    WHERE $2 IS NULL OR w.id = $2
) AS s
WHERE s.with_contents
   OR EXISTS (SELECT FROM webhook.monitor AS l WHERE pg_has_role($1, l.role, 'USAGE'))
