-- What keeps events of webhook $1 from arriving, once they are made, as role $2 may know it; and what webhook_check says of how they
-- are made, for its hints.
SELECT
    p.stage,
    CASE
        WHEN p.stage <> 'sending' THEN p.stage
        WHEN p.rank = 6 AND p.problem LIKE 'requests fail, %' AND t.tries_once THEN 'dead letter'
        WHEN p.rank = 6 THEN 'tried again'
        -- It is the same as before a restore, but for what a dump does not hold.
        WHEN p.rank = 2 AND NOT EXISTS (SELECT FROM webhook.lacking AS l WHERE l.webhook = $1) THEN 'tried again'
        WHEN p.rank = 7 AND p.severity = 'warning' THEN 'dead letter'
        ELSE 'waits'
    END AS verdict,
    p.problem,
    p.hint,
    -- A test is sent whatever anybody has switched off, and now.
    coalesce(p.rank IN (2, 4, 6), false) AS of_test
FROM (
    SELECT 3 AS rank, 'sending' AS stage, s.severity, s.problem, s.hint FROM webhook.standstill AS s WHERE s.severity <> 'warning'
    UNION ALL
    SELECT o.rank, o.stage, o.severity, o.problem, CASE w.role WHEN $2 THEN o.hint_for_owner ELSE o.hint END
    FROM webhook.trouble AS o
    JOIN webhook.owned AS w ON w.id = o.webhook
    WHERE o.webhook = $1
) AS p
CROSS JOIN (
    SELECT coalesce(w.max_retries = 0, false) OR w.retry_for = '0' AS tries_once FROM webhook.webhook AS w WHERE w.id = $1
) AS t
WHERE p.rank IS NOT NULL OR p.stage <> 'sending'
ORDER BY p.rank, p.problem
