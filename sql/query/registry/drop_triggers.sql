-- The statements that drop the triggers of webhook $1 on relation $2. Those on partitions go with their
-- parent's.
SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgrelid = $2
  AND t.tgparentid = 0
  AND t.tgfoid = 'webhook.capture()'::regprocedure
  AND t.tgname IN (
      SELECT format('zz_webhook_%s_%s', $1, operation)::name
      FROM unnest('{insert,update,delete}'::text[]) AS operation
  )
