-- Whether role $1 may change levels and arm the database: as the extension's owner or as an admin.
SELECT EXISTS (SELECT FROM webhook.administrator AS l WHERE pg_has_role($1, l.role, 'USAGE')) AS administers
