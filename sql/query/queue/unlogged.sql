-- Slots $1 hold events that have been delivered and are not in the log.
UPDATE webhook.ring SET unlogged = ARRAY(SELECT unnest(unlogged) UNION SELECT unnest($1) ORDER BY 1) WHERE NOT unlogged @> $1
