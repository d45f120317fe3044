-- Events of the backlog that have been delivered.
WITH gone AS (
    DELETE FROM webhook.pending AS p WHERE p.id = ANY ($1) RETURNING p.webhook, p.stage
)
INSERT INTO webhook.movement (webhook, was, stage, count)
SELECT g.webhook, g.stage, NULL, count(*) FROM gone AS g GROUP BY g.webhook, g.stage
