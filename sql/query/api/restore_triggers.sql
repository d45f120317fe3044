-- What finds places for rows of a dump, where pg_restore --disable-triggers has left it otherwise than it was.
SELECT t.oid
FROM pg_trigger AS t
WHERE t.tgrelid IN ('webhook.webhook'::regclass, 'webhook.watch'::regclass, 'webhook.level'::regclass)
  AND t.tgname = 'restore'
  AND t.tgenabled <> 'A'
