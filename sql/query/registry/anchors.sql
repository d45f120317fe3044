-- What says which functions transforms are.
SELECT w.anchor FROM webhook.webhook AS w WHERE w.anchor IS NOT NULL
