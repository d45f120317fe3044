-- The first of $1 .. $8 that no delivery can have: id, created_at, next_attempt_at, first_attempt_at, attempts, event_id, payload, which
-- has $9 bytes at most, and keys.
SELECT CASE
    WHEN $1 NOT BETWEEN 1 AND 9007199254740991 THEN 'id'
    WHEN $2 NOT BETWEEN '1970-01-01Z' AND '2200-01-01Z' THEN 'created_at'
    WHEN $3 NOT BETWEEN '1970-01-01Z' AND '2200-01-01Z' THEN 'next_attempt_at'
    WHEN $4 NOT BETWEEN '1970-01-01Z' AND '2200-01-01Z' THEN 'first_attempt_at'
    WHEN $5 NOT BETWEEN 0 AND 1000000 THEN 'attempts'
    WHEN $6 !~ '^[!-~]{1,200}$' THEN 'event_id'
    WHEN octet_length($7) > $9 THEN 'payload'
    -- an error where it is no JSON
    WHEN $7::json IS NULL THEN 'payload'
    WHEN array_ndims($8) > 1 OR cardinality($8) > 2 OR array_position($8, NULL) IS NOT NULL THEN 'keys'
END AS argument
