-- Counts the backlog again, where it has no more than $1 rows.
WITH few AS (
    SELECT FROM webhook.cursor WHERE (SELECT count(*) FROM (SELECT FROM webhook.pending LIMIT $1 + 1) AS p) <= $1
), written AS (
    DELETE FROM webhook.movement AS m USING few
)
INSERT INTO webhook.movement (webhook, was, stage, count)
SELECT p.webhook, NULL, p.stage, count(*) FROM webhook.pending AS p CROSS JOIN few GROUP BY p.webhook, p.stage
