SELECT id, system_identifier = $1 AND database = $2 FROM webhook.installation
