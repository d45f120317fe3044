-- Events of the slow lane that have been delivered.
DELETE FROM webhook.pending AS p WHERE p.id = ANY ($1)
