-- The statements that drop the triggers of webhook $1 on relation $2, whatever they are called by now.
-- Those on partitions go with their parent's.
SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgrelid = $2
  AND t.tgparentid = 0
  AND t.tgfoid = 'webhook.capture()'::regprocedure
  AND t.tgargs = convert_to($1::text, 'UTF8') || decode('00', 'hex')
