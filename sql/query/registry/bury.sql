-- Webhooks whose owner is gone, by DROP OWNED, or because it has given up what stands for it, are deleted as
-- registry/delete.sql does it. One that came with a dump, without what stands for its owner, stays as it is.
-- One that somebody is changing is left for the next time, which that change brings about.
WITH ownerless AS (
    SELECT w.id
    FROM webhook.webhook AS w
    WHERE w.deleted_at IS NULL
      AND w.owner IN (SELECT o.anchor FROM webhook.owner AS o WHERE o.type <> 0)
      AND NOT EXISTS (SELECT FROM webhook.owner_role AS r WHERE r.anchor = w.owner)
    FOR UPDATE SKIP LOCKED
), gone AS (
    UPDATE webhook.webhook AS w SET deleted_at = webhook.queue_time(), enabled = false, url = '', description = NULL
    FROM ownerless
    WHERE w.id = ownerless.id
    RETURNING w.id, w.uuid, w.name
), secret AS (
    DELETE FROM webhook.secret AS s USING gone WHERE s.webhook = gone.id
), watch AS (
    DELETE FROM webhook.watch AS v USING gone WHERE v.webhook = gone.uuid RETURNING v.id, v.relation
), watch_trigger AS (
    DELETE FROM webhook.watch_trigger AS t USING watch WHERE t.watch = watch.id
), watch_payload AS (
    DELETE FROM webhook.watch_payload AS p USING watch WHERE p.watch = watch.id
), doomed AS (
    INSERT INTO webhook.doomed (watch, relation) SELECT watch.id, watch.relation FROM watch
)
SELECT gone.name FROM gone
