-- Whether webhook_stop() keeps this database from sending.
SELECT EXISTS (SELECT FROM webhook.stop) AS stopped
