-- Counts the backlog again, where it has no more than $1 rows: by the index that has the stages, and those of no webhook apart.
WITH few AS (
    SELECT FROM webhook.cursor WHERE (SELECT count(*) FROM (SELECT FROM webhook.pending LIMIT $1 + 1) AS p) <= $1
), written AS (
    DELETE FROM webhook.movement AS m USING few
), counted AS (
    SELECT p.webhook_id, p.stage, count(*) AS count
    FROM webhook.pending AS p
    CROSS JOIN few
    WHERE p.webhook_id IS NOT NULL
    GROUP BY p.webhook_id, p.stage
)
INSERT INTO webhook.movement (webhook, was, stage, count)
SELECT w.id, NULL::smallint, c.stage, c.count FROM counted AS c JOIN webhook.webhook AS w ON w.uuid = c.webhook_id
UNION ALL
SELECT p.webhook, NULL, p.stage, count(*)
FROM webhook.pending AS p
CROSS JOIN few
WHERE p.webhook_id IS NULL
GROUP BY p.webhook, p.stage
