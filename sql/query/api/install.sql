INSERT INTO webhook.installation (id, system_identifier, database) VALUES ($1, $2, $3)
