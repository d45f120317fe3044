-- What is wrong, as far as role $2 may know of it: with webhook $1 only, where that is given.
SELECT w.name, p.severity, p.problem, p.hint
FROM (
    SELECT o.webhook, o.severity, o.problem, o.hint FROM webhook.problem AS o
    UNION ALL
    SELECT u.webhook, u.severity, u.problem, u.hint FROM webhook.unarmed AS u
) AS p
JOIN webhook.owned AS w ON w.id = p.webhook
WHERE w.deleted_at IS NULL
  AND ($1 IS NULL OR w.id = $1)
  AND (
      pg_has_role($2, w.role, 'USAGE')
      OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role($2, l.role, 'USAGE'))
  )
UNION ALL
SELECT NULL, o.severity, o.problem, o.hint
FROM webhook.leftover AS o
WHERE $1 IS NULL
  AND (
      pg_has_role($2, o.owner, 'USAGE')
      OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role($2, l.role, 'USAGE'))
  )
UNION ALL
SELECT NULL, s.severity, s.problem, s.hint
FROM webhook.surrounding AS s
WHERE $1 IS NULL
  AND (
      pg_has_role($2, s.owner, 'USAGE')
      OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role($2, l.role, 'USAGE'))
  )
UNION ALL
SELECT NULL, l.severity, l.problem, l.hint
FROM webhook.level_problem AS l
WHERE $1 IS NULL
  AND (
      pg_has_role($2, l.role, 'USAGE')
      OR EXISTS (SELECT FROM webhook.administrator AS a WHERE pg_has_role($2, a.role, 'USAGE'))
  )
ORDER BY 1, 2, 3
