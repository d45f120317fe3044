-- The tables of attempts of $1 slots, in the order of these.
SELECT format('webhook.attempt_%s', slot)::regclass::oid AS relation
FROM generate_series(0, $1 - 1) AS slot
ORDER BY slot
