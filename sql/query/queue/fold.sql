-- Adds up what has been written of each stage of each webhook.
WITH written AS (
    DELETE FROM webhook.movement AS m RETURNING m.webhook, m.was, m.stage, m.count
)
INSERT INTO webhook.movement (webhook, was, stage, count)
SELECT c.webhook, NULL, c.stage, sum(c.count)
FROM (
    SELECT w.webhook, w.stage, w.count FROM written AS w
    UNION ALL
    SELECT w.webhook, w.was, -w.count FROM written AS w
) AS c
WHERE c.stage IS NOT NULL
GROUP BY c.webhook, c.stage
HAVING sum(c.count) <> 0
