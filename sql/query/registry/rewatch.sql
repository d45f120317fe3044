-- What of a table is watched from now on. Operations that are no longer watched leave no trace, so that a trigger of
-- theirs which could not be dropped counts for nothing when they come back.
WITH forgotten AS (
    DELETE FROM webhook.watch_trigger WHERE watch = $1 AND operation <> ALL ($2)
)
UPDATE webhook.watch SET events = $2, columns = $3, condition = $4, payload_columns = $5 WHERE id = $1
