-- Those that came with a dump count by their numbers from now on, unless they have ended up with another role.
INSERT INTO webhook.owner (anchor, type)
SELECT DISTINCT r.anchor, r.type
FROM webhook.owner_role AS r
JOIN webhook.owned AS w ON w.owner = r.anchor
WHERE w.confirmed
ON CONFLICT DO NOTHING
