SELECT signing_key FROM webhook.secret WHERE webhook = $1
