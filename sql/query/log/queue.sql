-- The tables of all events and attempts.
SELECT c.oid
FROM pg_class AS c
WHERE c.relnamespace = 'webhook'::regnamespace
  AND c.relkind = 'r'
  AND c.relname ~ '^((event|attempt)_[0-9]+|pending|closed)$'
ORDER BY c.oid
