-- Whether there can be deliveries that have been made and are not in the log.
SELECT r.unlogged <> '{}' AS has_unlogged FROM webhook.ring AS r
