-- The triggers of the watches $2 on relation $1 that belong to no webhook now, as webhook.leftover has them.
SELECT t.oid
FROM unnest($2) AS d (watch)
JOIN pg_trigger AS t ON t.tgargs = convert_to(d.watch::text, 'UTF8') || decode('00', 'hex')
WHERE t.tgrelid = $1
  AND t.tgparentid = 0
  AND t.tgfoid = 'webhook.capture()'::regprocedure
  AND NOT EXISTS (
      SELECT
      FROM webhook.watched_trigger AS s
      WHERE s.watch = d.watch AND t.tgtype = s.type AND (t.tgname = s.name::name OR s.trigger IS NULL)
  )
