-- The table that is due first: what is remembered of it, of which watches, and in how many seconds. What is added for a
-- table does not make it due earlier.
SELECT
    d.relation,
    array_agg(d.id) AS known,
    array_agg(DISTINCT d.watch) AS watches,
    greatest(extract(epoch FROM max(d.next_at) - clock_timestamp()), 0)::double precision AS wait
FROM webhook.doomed AS d
GROUP BY d.relation
ORDER BY max(d.next_at)
LIMIT 1
