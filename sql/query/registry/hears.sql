-- Whether webhook $1 names emitters.
SELECT EXISTS (SELECT FROM webhook.heard AS h WHERE h.webhook = $1) AS hears
