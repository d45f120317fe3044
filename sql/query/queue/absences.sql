SELECT began, ended FROM webhook.absence ORDER BY ended
