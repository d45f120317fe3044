-- Adds up what has been written of webhooks of which that is more than $1 rows. Of the others there are too few to be worth it.
WITH many AS (
    SELECT m.webhook FROM webhook.movement AS m GROUP BY m.webhook HAVING count(*) > $1
), written AS (
    DELETE FROM webhook.movement AS m USING many WHERE m.webhook = many.webhook RETURNING m.webhook, m.was, m.stage, m.count
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
