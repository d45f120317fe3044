DELETE FROM webhook.installation
