-- What webhook.webhooks tells of the webhooks that role $1 may see.
SELECT t.webhook, t.rank, t.disabled, t.broken, t.others, t.failing
FROM webhook.told AS t
JOIN webhook.owned AS w ON w.id = t.webhook
WHERE pg_has_role($1, w.role, 'USAGE')
   OR EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role($1, l.role, 'USAGE'))
   OR EXISTS (SELECT FROM webhook.monitor AS l WHERE pg_has_role($1, l.role, 'USAGE'))
