-- What says which function the transform of webhook $1 is; NULL where it has none. Returns what said it before.
WITH before AS (
    SELECT anchor FROM webhook.webhook WHERE id = $1
)
UPDATE webhook.webhook AS w SET anchor = $2 FROM before WHERE w.id = $1 RETURNING before.anchor
