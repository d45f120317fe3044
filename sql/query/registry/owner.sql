-- The owner and the uuid of webhook $1, and what says which function its transform is.
SELECT w.role, w.uuid, w.anchor FROM webhook.owned AS w WHERE w.id = $1
