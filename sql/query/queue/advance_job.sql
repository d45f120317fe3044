-- Job $1 is at step $2, at position $3, behind transaction $4 and id $5, at $9, and has looked at $6 more deliveries, done something
-- about $7 and left out $8. What it has waited for is over.
UPDATE webhook.job AS j SET
    step = $2,
    position = $3,
    place_xid = $4,
    place = $5,
    seen_rows = j.seen_rows + $6,
    done = j.done + $7,
    skipped = j.skipped + $8,
    error = NULL,
    began_at = coalesce(j.began_at, $9)
WHERE j.id = $1
