-- Of these deliveries, those that an earlier run has finished or moved to the slow lane.
SELECT a.delivery FROM webhook.attempt AS a WHERE a.delivery = ANY ($1) AND a.verdict <> 'retry'
UNION ALL
SELECT p.id FROM webhook.pending AS p WHERE p.id = ANY ($1)
