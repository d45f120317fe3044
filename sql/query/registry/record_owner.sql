-- Remembers the domain $1 as it was made: its number $2.
INSERT INTO webhook.owner (anchor, type, confirmed) VALUES ($1, $2, true)
