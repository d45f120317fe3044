-- What deleted webhooks have left: their waiting events after the retention, and their names after
-- another one, when nothing is left in the backlog. And cancelled and replayed deliveries, and jobs, after the
-- retention. All of that not as long as the ring holds the events. $2 in the time of the queue.
WITH old AS (
    SELECT
        w.id,
        w.deleted_at < $2 - 2 * make_interval(secs => $1)
            AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.webhook = w.id) AS forgotten
    FROM webhook.webhook AS w
    WHERE w.deleted_at < $2 - make_interval(secs => $1)
), pending AS (
    -- Not what the ring holds: it would be taken for delivered there.
    DELETE FROM webhook.pending AS p
    USING old
    WHERE p.webhook = old.id AND NOT EXISTS (SELECT FROM webhook.event AS e WHERE e.xid = p.xid AND e.id = p.id)
    RETURNING p.webhook, p.stage
), nobodys AS (
    -- whose webhook had been forgotten when the worker came to them
    DELETE FROM webhook.pending AS p WHERE p.webhook_id IS NULL RETURNING p.webhook, p.stage
), closed AS (
    DELETE FROM webhook.closed AS c
    WHERE c.settled
      AND c.closed_at < $2 - make_interval(secs => $1)
      AND NOT EXISTS (SELECT FROM webhook.event AS e WHERE e.xid = c.xid AND e.id = c.delivery)
    RETURNING c.delivery, c.xid
), gone AS (
    DELETE FROM webhook.pending AS p USING closed AS c WHERE p.id = c.delivery AND p.xid = c.xid RETURNING p.webhook, p.stage
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT g.webhook, g.stage, NULL, count(*)
    FROM (TABLE pending UNION ALL TABLE nobodys UNION ALL TABLE gone) AS g
    GROUP BY g.webhook, g.stage
), place AS (
    DELETE FROM webhook.place AS o USING webhook.webhook AS d WHERE d.id = o.webhook AND d.deleted_at IS NOT NULL
), job AS (
    DELETE FROM webhook.job AS j WHERE j.ended_at < $2 - make_interval(secs => $1)
), health AS (
    -- In the worker's session foreign keys do nothing.
    DELETE FROM webhook.health AS h USING old WHERE h.webhook = old.id AND old.forgotten
), metric AS (
    DELETE FROM webhook.metric AS m USING old WHERE m.webhook = old.id AND old.forgotten
), metric_reset AS (
    DELETE FROM webhook.metric_reset AS r USING old WHERE r.webhook = old.id AND old.forgotten
), emitter_role AS (
    DELETE FROM webhook.emitter_role AS k USING old WHERE k.webhook = old.id AND old.forgotten
)
DELETE FROM webhook.webhook AS w USING old WHERE w.id = old.id AND old.forgotten
