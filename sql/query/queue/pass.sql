-- Of deliveries $1 those that are finished leave the order: what is delivered or cancelled, a dead letter that holds up nothing, and
-- where $2 says that what replays it has come into its place, one that somebody has replayed. Returns the keys, NULL for all of a webhook.
DELETE FROM webhook.place AS o
WHERE o.delivery = ANY ($1)
  AND NOT EXISTS (
      SELECT
      FROM webhook.pending AS p
      JOIN webhook.webhook AS w ON w.id = p.webhook
      WHERE p.id = o.delivery
        AND p.stage <> 3
        AND (
            p.stage <> 2
            OR w.on_failure <> 'skip'
                AND NOT (
                    $2 AND EXISTS (
                        SELECT FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid AND c.how = 'replayed'
                    )
                )
        )
  )
RETURNING o.webhook, o.key
