-- The next $2 deliveries in the backlog of webhook $1 behind id $3: how many, the last of them, and how many of them wait, with how many
-- bytes of bodies.
SELECT
    count(*) AS seen_rows,
    max(p.id) AS place,
    count(*) FILTER (WHERE p.stage IN (0, 1, 4)) AS waiting,
    coalesce(sum(octet_length(p.payload)) FILTER (WHERE p.stage IN (0, 1, 4)), 0)::bigint AS bytes
FROM (
    SELECT r.id, r.stage, r.payload
    FROM webhook.pending AS r
    -- By rows, so that no index is of use but that of webhooks.
    WHERE (r.webhook_id, r.id) > ((SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $1), $3)
      AND (r.webhook_id, r.id) <= ((SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $1), 9223372036854775807)
    ORDER BY r.webhook_id, r.id
    LIMIT $2
) AS p
