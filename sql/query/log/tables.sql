-- The tables of attempts, in the order of their slots.
SELECT format('webhook.attempt_%s', slot)::regclass::oid
FROM generate_series(0, 7) AS slot
ORDER BY slot
