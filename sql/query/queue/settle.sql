-- Deliveries $1 have been cancelled. Those in the slow lane are never due again. There is nothing more
-- to do for them then, nor for those that were under way already and are behind the cursor.
WITH shelved AS (
    UPDATE webhook.pending AS p SET next_at = 'infinity' WHERE p.id = ANY ($1) AND p.next_at < 'infinity'
)
UPDATE webhook.closed AS c SET settled = true
WHERE c.delivery = ANY ($1)
  AND (
      EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = c.delivery)
      OR pg_visible_in_snapshot(c.xid, (SELECT k.snap FROM webhook.cursor AS k))
  )
RETURNING c.delivery
