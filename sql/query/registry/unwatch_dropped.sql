-- Webhook $1 does not watch tables that are no more.
DELETE FROM webhook.watch
WHERE webhook = (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $1)
  AND relation NOT IN (SELECT c.oid FROM pg_class AS c)
