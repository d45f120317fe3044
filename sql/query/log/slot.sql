-- The tables of slot $1.
SELECT format('webhook.%s_%s', name, $1)::regclass::oid AS relation FROM unnest(ARRAY['event', 'attempt']) AS t (name)
