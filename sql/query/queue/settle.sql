-- For deliveries $1, whose events transactions $2 wrote and which have been cancelled, there is nothing more to do when
-- they are shelved in the backlog, or are not there, were under way already, and are before the cursor.
UPDATE webhook.closed AS c SET settled = true
FROM unnest($1, $2) AS t (id, xid)
WHERE c.delivery = t.id
  AND c.xid = t.xid
  AND coalesce(
      (SELECT p.stage = 3 FROM webhook.pending AS p WHERE p.id = c.delivery AND p.xid = c.xid),
      pg_visible_in_snapshot(c.xid, (SELECT k.snap FROM webhook.cursor AS k))
  )
RETURNING c.delivery
