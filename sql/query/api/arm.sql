-- Webhooks that came from another installation, or with a copy, belong to this one from now on.
UPDATE webhook.webhook AS w SET installation = i.id
FROM webhook.installation AS i
WHERE w.installation <> i.id
RETURNING w.id
