INSERT INTO webhook.installation (id, system_identifier, database, server, since)
VALUES ($1, $2, $3, $4, pg_current_xact_id())
ON CONFLICT (singleton) DO UPDATE SET
    id = excluded.id,
    system_identifier = excluded.system_identifier,
    database = excluded.database,
    server = excluded.server,
    since = excluded.since
