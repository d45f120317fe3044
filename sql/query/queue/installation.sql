-- The installation, and whether it is this database: $1 is the number of the server, $2 that of the database, $3 the setting
-- pg_webhook.server. Since which transaction.
SELECT id, system_identifier = $1 AND database = $2 AND server = $3, since::text::bigint FROM webhook.installation
