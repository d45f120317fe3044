-- Writes down which deliveries go together: batch $1 of webhook $2, put together as $6, with the deliveries of which these are the events, of each so
-- many ($5) of $3 and $4, one after the other.
INSERT INTO webhook.batch (id, webhook, shape, deliveries, xids)
SELECT b.id, b.webhook, b.shape, ($3::bigint[])[b.until - b.count + 1 : b.until], ($4::xid8[])[b.until - b.count + 1 : b.until]
FROM (
    SELECT u.id, u.webhook, u.shape, u.count, sum(u.count) OVER (ORDER BY u.position)::integer AS until
    FROM unnest($1, $2, $5, $6) WITH ORDINALITY AS u (id, webhook, count, shape, position)
) AS b
