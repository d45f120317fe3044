-- Events of the backlog that have been delivered.
DELETE FROM webhook.pending AS p WHERE p.id = ANY ($1)
