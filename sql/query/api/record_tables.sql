-- Watches that a dump has brought without their webhook are forgotten.
WITH orphaned AS (
    DELETE FROM webhook.watch AS v WHERE NOT EXISTS (SELECT FROM webhook.webhook AS w WHERE w.uuid = v.webhook AND w.deleted_at IS NULL)
    RETURNING v.id
), watch_trigger AS (
    DELETE FROM webhook.watch_trigger AS t USING orphaned WHERE t.watch = orphaned.id
), watch_payload AS (
    DELETE FROM webhook.watch_payload AS p USING orphaned WHERE p.watch = orphaned.id
)
-- Tables that were missing when a dump was restored, and are there now. One that is not yet is gone, so that nothing else
-- is taken for it later.
UPDATE webhook.watch AS v
SET relation = coalesce(t.relation, 0), schema_name = CASE WHEN t.relation IS NOT NULL THEN v.schema_name END
FROM webhook.watch AS n
LEFT JOIN webhook.named_table AS t
    ON t.schema_name = n.schema_name AND t.table_name = n.table_name
    -- which the webhook may watch by now
    AND NOT EXISTS (SELECT FROM webhook.watch AS o WHERE o.webhook = n.webhook AND o.relation = t.relation)
WHERE n.id = v.id AND v.relation = 0
