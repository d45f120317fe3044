-- Whoever creates a partition of a watched table creates its triggers. The function does nothing in a trigger that
-- no webhook has.
GRANT USAGE ON SCHEMA webhook TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook.capture() TO PUBLIC;
-- The views ask it as whoever reads them, and it says nothing that pg_database does not.
GRANT EXECUTE ON FUNCTION webhook.is_database(bigint, oid) TO PUBLIC;
-- So do these, which read nothing.
GRANT EXECUTE ON FUNCTION webhook.bounds(), webhook.percentile(bigint[], double precision) TO PUBLIC;
-- So is this, which says of the server what any session finds out, and of the worker's error its code.
GRANT EXECUTE ON FUNCTION webhook.obstacles() TO PUBLIC;
-- So are these, which say to whoever may see a webhook what it is called, and what is wrong with it.
GRANT EXECUTE ON FUNCTION webhook.seen_by_reader(), webhook.told_to_reader() TO PUBLIC;
-- Statements of ours ask it as the owner of the schema, to which somebody may have given the views and not the functions. It reads
-- as whoever calls it, and others than that owner may not.
GRANT EXECUTE ON FUNCTION webhook.manages(oid, oid), webhook.sees(oid, oid) TO PUBLIC;
-- Whoever may watch the server sees how the workers are, and the numbers of webhooks with their names.
GRANT SELECT ON webhook.workers, webhook.stats, webhook.metrics TO pg_monitor;
GRANT EXECUTE ON FUNCTION webhook.workers_status() TO pg_monitor;

-- What pg_dump reads, so that whoever owns the database can make a dump of it.
GRANT SELECT ON webhook.webhook, webhook.watch, webhook.level TO pg_database_owner;
GRANT SELECT ON webhook.owner, webhook.emitter_role, webhook.watch_trigger, webhook.watch_payload TO pg_database_owner;
