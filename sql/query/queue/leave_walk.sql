-- The walk is behind id $1, at $4.
INSERT INTO webhook.walk (
    before, again, soonest, at, webhooks, waiting_events, waiting_bytes, dead_events, dead_bytes, left_events, left_since
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
-- A run that is ended while it leaves does so twice.
ON CONFLICT (singleton) DO UPDATE SET
    before = excluded.before,
    again = excluded.again,
    soonest = excluded.soonest,
    at = excluded.at,
    settings = excluded.settings,
    webhooks = excluded.webhooks,
    waiting_events = excluded.waiting_events,
    waiting_bytes = excluded.waiting_bytes,
    dead_events = excluded.dead_events,
    dead_bytes = excluded.dead_bytes,
    left_events = excluded.left_events,
    left_since = excluded.left_since
