-- The ring's state: current slot, its age in seconds, and whether every event in the slot that comes
-- next is before the cursor, so that it may be emptied.
SELECT
    r.slot,
    extract(epoch FROM clock_timestamp() - r.since)::bigint,
    NOT EXISTS (
        SELECT FROM webhook.event AS e
        WHERE e.slot = (r.slot + 1) % 8 AND e.xid >= pg_snapshot_xmin(c.snap)
    )
FROM webhook.ring AS r
CROSS JOIN webhook.cursor AS c
