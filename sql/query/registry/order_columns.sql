-- A column of the key of webhook $1 that a table which it watches does not have, or has no value of when triggers fire, and the table.
SELECT k.name, format('%I.%I', n.nspname, c.relname) AS table_name, a.attname IS NOT NULL AS is_virtual
FROM webhook.webhook AS w
JOIN webhook.watch AS v ON v.webhook = w.uuid
JOIN pg_class AS c ON c.oid = v.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN unnest(w.order_key) WITH ORDINALITY AS k (name, position)
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname::text = k.name AND a.attnum > 0 AND NOT a.attisdropped
WHERE w.id = $1 AND (a.attname IS NULL OR a.attgenerated = 'v')
ORDER BY table_name, k.position
LIMIT 1
