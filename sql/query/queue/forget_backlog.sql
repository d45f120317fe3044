-- Of transactions before $1. What has been imported since stays, whatever the transaction was that wrote it elsewhere, and
-- what somebody has done about it.
WITH pending AS (
    DELETE FROM webhook.pending AS p WHERE coalesce(p.imported, p.xid) < $1 RETURNING p.webhook, p.stage
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, p.stage, NULL, count(*) FROM pending AS p GROUP BY p.webhook, p.stage
), place AS (
    DELETE FROM webhook.place AS o
    WHERE NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = o.delivery AND coalesce(p.imported, p.xid) >= $1)
), walk AS (
    -- It has counted them.
    DELETE FROM webhook.walk
), job AS (
    -- They were for what came along.
    DELETE FROM webhook.job AS j WHERE j.caller < $1 AND j.result IS NULL RETURNING j.id
), job_path AS (
    DELETE FROM webhook.job_path AS p USING job AS j WHERE p.job = j.id
), job_aside AS (
    DELETE FROM webhook.job_aside AS a USING job AS j WHERE a.job = j.id
), stopped AS (
    DELETE FROM webhook.stopped AS s USING job AS j WHERE s.job = j.id
)
DELETE FROM webhook.closed AS c
WHERE c.xid < $1
  AND NOT EXISTS (SELECT FROM webhook.pending AS p WHERE p.id = c.delivery AND p.xid = c.xid AND p.imported >= $1)
