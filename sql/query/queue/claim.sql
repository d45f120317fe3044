-- Due events of several webhooks, or whatever waits, each after its own position and up to its own limit, without those that
-- have been cancelled. Each is asked for by its key: a search for all would pass over dead rows without
-- number where somebody holds an old snapshot.
SELECT p.webhook, p.next_at, p.id, p.xid, coalesce(p.imported, p.xid) AS written, p.attempts, p.first_attempt_at, p.event_id, p.payload, p.event_slot, p.batch
FROM unnest($1, $2, $3, $4, $6) AS w (id, after_at, after_id, want, whatever)
CROSS JOIN LATERAL (
    SELECT q.*
    FROM webhook.pending AS q
    WHERE q.webhook = w.id
      AND (q.next_at, q.id) > (w.after_at, w.after_id)
      AND q.next_at <= CASE WHEN w.whatever THEN '290000-01-01 00:00Z'::timestamptz ELSE $5 END
      AND (SELECT true FROM webhook.closed AS c WHERE c.delivery = q.id AND c.xid = q.xid) IS NULL
    ORDER BY q.next_at, q.id
    LIMIT w.want
) AS p
