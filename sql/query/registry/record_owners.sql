-- Those that came with a dump count by their numbers from now on.
INSERT INTO webhook.owner (anchor, type)
SELECT r.anchor, r.type
FROM webhook.owner_role AS r
WHERE r.anchor IN (SELECT w.owner FROM webhook.webhook AS w)
ON CONFLICT DO NOTHING
