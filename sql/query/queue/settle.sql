-- For deliveries $1, whose events transactions $2 wrote and which have been cancelled, there is nothing more to do when
-- they are shelved in the backlog, or are not there, were under way already, and are before the cursor.
UPDATE webhook.closed AS c SET settled = true
FROM (
    SELECT k.delivery, k.xid
    FROM unnest($1, $2) AS u (id, xid)
    JOIN webhook.closed AS k ON k.delivery = u.id AND k.xid = u.xid
    -- a session that cancels one a second time may have its row for as long as it likes
    FOR UPDATE OF k SKIP LOCKED
) AS t
WHERE c.delivery = t.delivery
  AND c.xid = t.xid
  AND coalesce(
      (SELECT p.stage = 3 FROM webhook.pending AS p WHERE p.id = c.delivery AND p.xid = c.xid),
      pg_visible_in_snapshot(c.xid, (SELECT k.snap FROM webhook.cursor AS k))
  )
RETURNING c.delivery
