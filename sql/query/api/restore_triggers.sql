-- What finds places for rows of a dump, and what leaves out those that logical replication brings, where
-- pg_restore --disable-triggers has left it otherwise than it was; and how it was.
SELECT t.oid, made.firing
FROM pg_trigger AS t
JOIN (VALUES ('restore', 'A'::"char"), ('_skip_applied', 'R')) AS made (name, firing) ON made.name = t.tgname::text
JOIN pg_class AS c ON c.oid = t.tgrelid AND c.relnamespace = 'webhook'::regnamespace
WHERE t.tgfoid IN (
        'webhook.restore_webhook()'::regprocedure, 'webhook.restore_watch()'::regprocedure,
        'webhook.restore_level()'::regprocedure, 'webhook.skip_applied()'::regprocedure
    )
  AND t.tgenabled <> made.firing
