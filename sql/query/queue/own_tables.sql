-- The tables that jobs write to, each with its name.
SELECT c.oid, format('webhook.%I', c.relname) AS name
FROM pg_class AS c
WHERE c.relnamespace = 'webhook'::regnamespace
  AND c.relkind IN ('r', 'p')
  AND (
      c.relname ~ '^(event|attempt)(_[0-7])?$'
      OR c.relname IN ('pending', 'movement', 'closed', 'job', 'job_aside')
  )
ORDER BY c.oid
