SELECT slot FROM webhook.ring
