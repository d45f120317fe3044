-- The installation, and whether it is this database: $1 is the number of the server, $2 that of the database, $3 the setting
-- pg_webhook.server. Since which transaction.
SELECT id, i.is_database AND server = $3, since::text::bigint, i.is_database
FROM webhook.installation
CROSS JOIN LATERAL (SELECT system_identifier = $1 AND database = $2 AS is_database) AS i
