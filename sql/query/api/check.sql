-- What is wrong, as far as role $2 may know of it: with webhook $1 only, where that is given.
SELECT p.name, p.severity, p.problem, p.hint
FROM (
    SELECT
        w.name,
        w.id AS webhook,
        w.role,
        o.severity,
        o.problem,
        CASE w.role WHEN $2 THEN o.hint_for_owner ELSE o.hint END AS hint
    FROM (
        SELECT b.webhook, b.severity, b.problem, b.hint, b.hint_for_owner FROM webhook.problem AS b
        UNION ALL
        SELECT u.webhook, u.severity, u.problem, u.hint, u.hint FROM webhook.unarmed AS u
    ) AS o
    JOIN webhook.owned AS w ON w.id = o.webhook AND w.deleted_at IS NULL
    UNION ALL
    SELECT NULL, NULL, l.owner, l.severity, l.problem, l.hint FROM webhook.leftover AS l
    UNION ALL
    SELECT NULL, NULL, s.owner, s.severity, s.problem, s.hint FROM webhook.surrounding AS s
    UNION ALL
    SELECT NULL, NULL, g.owner, g.severity, g.problem, g.hint FROM webhook.log_problem AS g
    UNION ALL
    SELECT NULL, NULL, l.role, l.severity, l.problem, l.hint FROM webhook.level_problem AS l
) AS p
WHERE ($1 IS NULL OR p.webhook = $1)
  AND webhook.sees($2, p.role)
ORDER BY 1, 2, 3
