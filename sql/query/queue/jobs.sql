-- The jobs that have not ended, the oldest first.
SELECT
    j.id, j.kind, j.webhooks, j.status, j.first, j."end", j.seen::text AS seen, j.caller, j.step, j.position, j.place_xid, j.place,
    j.stopped
FROM webhook.work AS j
ORDER BY j.id
