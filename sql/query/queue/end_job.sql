-- Job $1 has ended with result $2 and error $3, at $4. Of those that have ended before, the last $5 stay.
WITH ended AS (
    UPDATE webhook.job AS j SET result = $2, error = $3, ended_at = $4 WHERE j.id = $1 AND j.result IS NULL
), old AS (
    DELETE FROM webhook.job AS j
    USING (SELECT o.id FROM webhook.job AS o WHERE o.result IS NOT NULL ORDER BY o.ended_at DESC OFFSET $5) AS o
    WHERE j.id = o.id
)
-- Of those that have been forgotten before.
DELETE FROM webhook.stopped AS s WHERE NOT EXISTS (SELECT FROM webhook.job AS j WHERE j.id = s.job)
