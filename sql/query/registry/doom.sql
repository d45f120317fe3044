-- The worker is to drop the triggers of watch $1 on relation $2 that belong to no webhook.
INSERT INTO webhook.doomed (watch, relation) VALUES ($1, $2)
