-- A table that webhook $1 watches and that shares rows with relation $2: a partition of it, or that of
-- which it is one.
SELECT format('%I.%I', n.nspname, c.relname) AS table_name
FROM webhook.watched AS w
JOIN pg_class AS c ON c.oid = w.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE w.webhook = $1
  AND w.relation <> $2
  AND (
      w.relation IN (SELECT a.relid FROM pg_partition_ancestors($2) AS a)
      OR w.relation IN (SELECT t.relid FROM pg_partition_tree($2) AS t)
  )
LIMIT 1
