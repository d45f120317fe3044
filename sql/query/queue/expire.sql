-- Dead letters $1 of transactions $2, and what jobs have cancelled, end. Not those whose events the ring still holds: nothing would tell
-- there that they are dead. Nor those that somebody has replayed or cancelled, which go with the log, nor those behind which others of
-- their key are held.
WITH gone AS (
    DELETE FROM webhook.pending AS p
    USING unnest($1, $2) AS u (id, xid)
    WHERE p.id = u.id
      AND p.xid = u.xid
      AND p.stage IN (2, 3)
      AND NOT EXISTS (
          SELECT
          FROM webhook.place AS o
          WHERE o.delivery = p.id
            AND (
                EXISTS (
                    SELECT FROM webhook.place AS q WHERE q.webhook = o.webhook AND q.key = o.key AND q.position > o.position
                )
                OR EXISTS (
                    SELECT FROM webhook.place AS q WHERE q.webhook = o.webhook AND q.key IS NULL AND q.position > o.position
                )
                OR o.key IS NULL
                    AND EXISTS (SELECT FROM webhook.place AS q WHERE q.webhook = o.webhook AND q.position > o.position)
            )
      )
      AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid)
      AND NOT EXISTS (SELECT FROM webhook.event AS e WHERE e.xid = p.xid AND e.id = p.id)
    RETURNING p.id, p.webhook, p.stage
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT g.webhook, g.stage, NULL, count(*) FROM gone AS g GROUP BY g.webhook, g.stage
)
SELECT g.id FROM gone AS g
