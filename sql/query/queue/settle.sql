-- Deliveries $1, whose events transactions $2 wrote, have been cancelled. Those in the slow lane are never
-- due again. There is nothing more to do for them then, nor for those that were under way already and are
-- behind the cursor.
WITH told AS (
    SELECT u.id, u.xid FROM unnest($1, $2) AS u (id, xid)
), shelved AS (
    UPDATE webhook.pending AS p SET next_at = 'infinity'
    FROM told AS t
    WHERE p.id = t.id AND p.xid = t.xid AND p.next_at < 'infinity'
)
UPDATE webhook.closed AS c SET settled = true
FROM told AS t
WHERE c.delivery = t.id
  AND c.xid = t.xid
  AND (
      EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = c.delivery AND p.xid = c.xid)
      OR pg_visible_in_snapshot(c.xid, (SELECT k.snap FROM webhook.cursor AS k))
  )
RETURNING c.delivery
