-- Of webhooks $1 nothing is left.
WITH forgotten AS (
    DELETE FROM webhook.emitter_role WHERE webhook = ANY ($1)
)
UPDATE webhook.webhook SET emitters = '{}', anchor = NULL WHERE id = ANY ($1)
