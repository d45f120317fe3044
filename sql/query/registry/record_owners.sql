-- Those that came with a dump count by their numbers from now on, unless they have ended up with another role. One that is
-- gone has the number of none, so that nothing else is taken for it later.
INSERT INTO webhook.owner (anchor, type)
SELECT DISTINCT w.owner, coalesce(r.type, 0)
FROM webhook.owned AS w
LEFT JOIN webhook.owner_role AS r ON r.anchor = w.owner
WHERE w.confirmed OR r.anchor IS NULL
ON CONFLICT DO NOTHING
