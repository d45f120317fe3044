-- Makes roles $2 the emitters of webhook $1. Returns those that were.
WITH before AS (
    SELECT emitters FROM webhook.webhook WHERE id = $1
)
UPDATE webhook.webhook AS w SET emitters = $2 FROM before WHERE w.id = $1 RETURNING before.emitters
