SELECT snap::text FROM webhook.cursor
