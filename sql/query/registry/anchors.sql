-- What says which functions transforms are, and whose webhooks.
SELECT w.anchor FROM webhook.webhook AS w WHERE w.anchor IS NOT NULL
UNION
SELECT w.owner FROM webhook.webhook AS w
