-- Due events of several webhooks, each after its own position and up to its own limit, without those that
-- have been cancelled.
SELECT p.webhook, p.next_at, p.id, p.xid, p.attempts, p.first_attempt_at, p.event_id, p.payload
FROM unnest($1, $2, $3, $4) AS w (id, after_at, after_id, want)
CROSS JOIN LATERAL (
    SELECT q.*
    FROM webhook.pending AS q
    WHERE q.webhook = w.id
      AND (q.next_at, q.id) > (w.after_at, w.after_id)
      AND q.next_at <= $5
      AND q.id NOT IN (SELECT c.delivery FROM webhook.closed AS c WHERE NOT c.settled)
    ORDER BY q.next_at, q.id
    LIMIT w.want
) AS p
