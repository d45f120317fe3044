-- What stands for role $1 as the owner of webhooks. After REASSIGN OWNED there can be several.
SELECT o.anchor
FROM webhook.owner_role AS r
JOIN webhook.owner AS o ON o.anchor = r.anchor
WHERE r.role = $1 AND o.confirmed
ORDER BY o.anchor
LIMIT 1
