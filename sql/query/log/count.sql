-- Adds to what is counted of webhooks $1; a sum that is as large as can be stays so. Of the buckets in $8 and $9 each has $10, one after the other.
INSERT INTO webhook.metric AS m (
    webhook, attempts, answered, delivered, dead, request_us, delivery_us, request_counts, delivery_counts
)
SELECT
    u.webhook, u.attempts, u.answered, u.delivered, u.dead, u.request_us, u.delivery_us,
    ($8)[(u.place - 1) * $10 + 1 : u.place * $10], ($9)[(u.place - 1) * $10 + 1 : u.place * $10]
FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY AS u (
    webhook, attempts, answered, delivered, dead, request_us, delivery_us, place
)
JOIN webhook.webhook AS w ON w.id = u.webhook AND w.deleted_at IS NULL
ON CONFLICT (webhook) DO UPDATE SET
    attempts = m.attempts + excluded.attempts,
    answered = m.answered + excluded.answered,
    delivered = m.delivered + excluded.delivered,
    dead = m.dead + excluded.dead,
    request_us = least(m.request_us::numeric + excluded.request_us, 9223372036854775807)::bigint,
    delivery_us = least(m.delivery_us::numeric + excluded.delivery_us, 9223372036854775807)::bigint,
    request_counts = ARRAY(
        SELECT t.old + t.new FROM unnest(m.request_counts, excluded.request_counts) WITH ORDINALITY AS t (old, new, place) ORDER BY t.place
    ),
    delivery_counts = ARRAY(
        SELECT t.old + t.new FROM unnest(m.delivery_counts, excluded.delivery_counts) WITH ORDINALITY AS t (old, new, place) ORDER BY t.place
    )
