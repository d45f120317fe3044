SELECT event_types FROM webhook.webhook WHERE id = $1
