-- The webhook of delivery $1 if role $2 may manage it (see webhook.manages): its name, whether it is
-- deleted, the transaction that wrote the event, and whether that is a test. The log and the backlog
-- find it by its id; the ring, which is indexed by transaction, is searched only for an event that has
-- never been tried.
SELECT
    w.name,
    w.deleted_at IS NOT NULL AS orphan,
    d.xid::text::bigint AS transaction,
    EXISTS (
        SELECT FROM webhook.event AS e
        WHERE e.xid = d.xid AND e.id = $1 AND e.event_type = 'TEST'
    ) AS test
FROM (
    SELECT a.webhook, a.xid, 1 AS cost FROM webhook.attempt AS a WHERE a.delivery = $1
    UNION ALL
    SELECT p.webhook, p.xid, 2 FROM webhook.pending AS p WHERE p.id = $1
    UNION ALL
    SELECT e.webhook, e.xid, 3 FROM webhook.event AS e WHERE e.id = $1
) AS d
JOIN webhook.owned AS w ON w.id = d.webhook
WHERE webhook.manages($2, w.role)
LIMIT 1
