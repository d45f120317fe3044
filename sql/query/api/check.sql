-- What is wrong, as far as role $2 may know of it: with webhook $1 only, where that is given, and with the whole database.
SELECT p.name, p.severity, p.problem, p.hint
FROM (
    SELECT
        w.name,
        w.id AS webhook,
        w.role,
        false AS common,
        o.severity,
        o.problem,
        CASE w.role WHEN $2 THEN o.hint_for_owner ELSE o.hint END AS hint
    FROM webhook.trouble AS o
    JOIN webhook.owned AS w ON w.id = o.webhook AND w.deleted_at IS NULL
    UNION ALL
    SELECT NULL, NULL, NULL, true, s.severity, s.problem, s.hint FROM webhook.standstill AS s
    UNION ALL
    SELECT NULL, NULL, l.owner, false, l.severity, l.problem, l.hint FROM webhook.leftover AS l
    UNION ALL
    SELECT NULL, NULL, s.owner, false, s.severity, s.problem, s.hint FROM webhook.surrounding AS s
    UNION ALL
    SELECT NULL, NULL, g.owner, false, g.severity, g.problem, g.hint FROM webhook.log_problem AS g
    UNION ALL
    SELECT NULL, NULL, l.role, false, l.severity, l.problem, l.hint FROM webhook.level_problem AS l
) AS p
WHERE p.common
   OR ($1 IS NULL OR p.webhook = $1)
      -- What is of no webhook is for whoever can do something about it.
      AND CASE WHEN p.webhook IS NULL THEN webhook.manages($2, p.role) ELSE webhook.sees($2, p.role) END
ORDER BY p.common DESC, 1, 2, 3
