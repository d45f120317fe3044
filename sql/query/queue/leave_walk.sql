-- The walk is behind id $1, at $4.
INSERT INTO webhook.walk (before, again, soonest, at, webhooks, waiting_events, waiting_bytes, dead_events, dead_bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
