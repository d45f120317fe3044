-- The name of webhook $1 where nothing makes events for it but webhook_invoke: it watches no table that is there, and hears no types.
SELECT w.name
FROM webhook.webhook AS w
WHERE w.id = $1
  AND w.event_types = '{}'
  AND NOT EXISTS (SELECT FROM webhook.watch AS v JOIN pg_class AS c ON c.oid = v.relation WHERE v.webhook = w.uuid)
