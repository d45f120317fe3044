-- Whether role $1 may change levels and arm the database: as the extension's owner or as an admin.
SELECT pg_has_role($1, n.nspowner, 'USAGE')
    OR EXISTS (SELECT FROM webhook.level AS l WHERE l.level = 'admin' AND pg_has_role($1, l.role::oid, 'USAGE'))
FROM pg_namespace AS n
WHERE n.nspname = 'webhook'
