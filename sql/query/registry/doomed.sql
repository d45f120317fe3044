-- The triggers of watch $1 on relation $2, but those of the names $3, and whether role $4 could drop them. Those of
-- partitions go with their parent's.
SELECT t.oid, pg_has_role($4, c.relowner, 'USAGE')
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE t.tgrelid = $2
  AND t.tgparentid = 0
  AND t.tgfoid = 'webhook.capture()'::regprocedure
  AND t.tgargs = convert_to($1::text, 'UTF8') || decode('00', 'hex')
  AND t.tgname::text <> ALL ($3)
