-- The statement that ties that trigger to the extension, so that DROP EXTENSION drops it.
SELECT format(
    'ALTER TRIGGER %I ON %I.%I DEPENDS ON EXTENSION pg_webhook',
    format('_webhook_%s_%s', $1, lower($2)), n.nspname, c.relname
)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = $3
