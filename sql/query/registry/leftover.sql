-- The triggers of the watches $2 on relation $1 that belong to no webhook now, as webhook.leftover has them.
SELECT t.oid AS trigger
FROM webhook.capture_trigger AS t
JOIN unnest($2) AS d (watch) ON d.watch::text = t.watch
WHERE t.relation = $1
  AND t.parent = 0
  AND NOT EXISTS (
      SELECT
      FROM webhook.watched_trigger AS s
      WHERE s.watch = d.watch AND t.type = s.type AND (t.name = s.name::name OR s.trigger IS NULL)
  )
