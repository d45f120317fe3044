-- The triggers of watch $1: the operation, the trigger's oid, NULL where there is none, how it fires, whether it is as it
-- was made, and the place of its row, which is another one once it has been replaced.
SELECT s.operation, s.trigger, s.enabled, s.ours AND s.unchanged AS unchanged, t.ctid::text AS version
FROM webhook.watched_trigger AS s
LEFT JOIN pg_trigger AS t ON t.oid = s.trigger
WHERE s.watch = $1
