-- Deliveries $1, which have been imported, take places $2.
UPDATE webhook.place AS o SET position = u.position
FROM unnest($1, $2) AS u (id, position)
WHERE o.delivery = u.id AND o.position IS NULL
