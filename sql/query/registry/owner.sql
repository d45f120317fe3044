-- The owner and the uuid of webhook $1.
SELECT w.owner::oid, w.uuid FROM webhook.webhook AS w WHERE w.id = $1
