-- A column of the key of webhook $1 that a table which it watches does not have, has no value of when triggers fire, or does not show
-- to the webhook's owner; and the table.
SELECT
    k.name, format('%I.%I', n.nspname, c.relname) AS table_name,
    a.attname IS NULL AS is_unknown, coalesce(a.attgenerated = 'v', false) AS is_virtual
FROM webhook.owned AS w
JOIN webhook.watch AS v ON v.webhook = w.uuid
JOIN pg_class AS c ON c.oid = v.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN unnest(w.order_key) WITH ORDINALITY AS k (name, position)
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname::text = k.name AND a.attnum > 0 AND NOT a.attisdropped
WHERE w.id = $1
  AND (
      a.attname IS NULL
      OR a.attgenerated = 'v'
      OR NOT (pg_has_role(w.role, c.relowner, 'USAGE') OR has_column_privilege(w.role, c.oid, a.attnum, 'SELECT'))
  )
ORDER BY table_name, k.position
LIMIT 1
