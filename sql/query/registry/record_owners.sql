-- Those that came with a dump count by their numbers from now on. One that is gone has the number of none, so that nothing
-- else is taken for it later.
INSERT INTO webhook.owner (anchor, type, confirmed)
SELECT w.owner, coalesce(min(r.type::bigint)::oid, 0), bool_and(w.confirmed)
FROM webhook.owned AS w
LEFT JOIN webhook.owner_role AS r ON r.anchor = w.owner
GROUP BY w.owner
ON CONFLICT DO NOTHING
