-- Job $1, if role $2 may manage what it is about: its webhook, or where it is for all that somebody manages, that role.
SELECT j.kind, j.result, j.error, j.done, j.skipped, coalesce(j.caller = pg_current_xact_id_if_assigned(), false) AS own
FROM webhook.job AS j
LEFT JOIN webhook.owned AS w ON w.uuid = j.webhook_id
WHERE j.id = $1
  AND (webhook.manages($2, w.role) OR webhook.manages($2, j.role))
