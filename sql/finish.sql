SELECT webhook.install();
