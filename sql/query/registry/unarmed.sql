-- How many webhooks, or whether webhook $1, do not send before webhook_arm.
SELECT count(*) AS count FROM webhook.unarmed AS u WHERE $1 IS NULL OR u.webhook = $1
