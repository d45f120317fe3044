DELETE FROM webhook.stop RETURNING role_name
