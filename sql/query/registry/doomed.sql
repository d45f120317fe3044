-- The triggers of watch $1 on relation $2, but those of the names $3, and whether role $4 could drop them. Those of
-- partitions go with their parent's.
SELECT t.oid AS trigger, pg_has_role($4, c.relowner, 'USAGE') AS may_drop
FROM webhook.capture_trigger AS t
JOIN pg_class AS c ON c.oid = t.relation
WHERE t.relation = $2
  AND t.parent = 0
  AND t.watch = $1::text
  AND t.name::text <> ALL ($3)
