-- What deleted webhooks have left: their waiting events after the retention, and their names after
-- another one, when the ring holds no event of theirs.
WITH old AS (
    SELECT w.id, w.deleted_at < now() - 2 * make_interval(secs => $1) AS forgotten
    FROM webhook.webhook AS w
    WHERE w.deleted_at < now() - make_interval(secs => $1)
), pending AS (
    DELETE FROM webhook.pending AS p USING old WHERE p.webhook = old.id
)
DELETE FROM webhook.webhook AS w USING old WHERE w.id = old.id AND old.forgotten
