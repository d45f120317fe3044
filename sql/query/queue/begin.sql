UPDATE webhook.cursor SET at = now() RETURNING snap::text
