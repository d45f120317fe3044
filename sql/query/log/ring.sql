-- The state of the ring of $2 slots at $1: current slot, its age in seconds, its size in bytes, and whether every event in the slot that comes
-- next is before the cursor, so that it may be emptied. What the cursor does not see was under way or to come when it was
-- written. Its xmin says less: a transaction in any database of the server holds that back.
SELECT
    r.slot,
    extract(epoch FROM $1 - r.since)::bigint AS age,
    pg_total_relation_size(format('webhook.event_%s', r.slot)::regclass)
        + pg_total_relation_size(format('webhook.attempt_%s', r.slot)::regclass) AS size,
    NOT EXISTS (
        SELECT FROM webhook.event AS e
        WHERE e.slot = (r.slot + 1) % $2 AND e.xid >= pg_snapshot_xmax(c.snap)
    )
    AND NOT EXISTS (
        SELECT
        FROM pg_snapshot_xip(c.snap) AS x (xid)
        JOIN webhook.event AS e ON e.slot = (r.slot + 1) % $2 AND e.xid = x.xid
    ) AS settled
FROM webhook.ring AS r
CROSS JOIN webhook.cursor AS c
