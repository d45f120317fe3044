-- Webhook $1 does not watch tables that are no more.
WITH watch AS (
    DELETE FROM webhook.watch AS v
    WHERE v.webhook = (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $1)
      AND v.relation NOT IN (SELECT c.oid FROM pg_class AS c)
    RETURNING v.id
), watch_trigger AS (
    DELETE FROM webhook.watch_trigger AS t USING watch WHERE t.watch = watch.id
)
DELETE FROM webhook.watch_payload AS p USING watch WHERE p.watch = watch.id
