-- Where the table of watch $1 has been renamed, and another one that the webhook does not watch has its name: what it was called and is
-- called, as webhook.problem says it, and whether that is of the same owner, and so likely the one that is meant.
SELECT
    v.old_name,
    format('%I.%I', n.nspname, c.relname) AS new_name,
    r.owner = c.relowner AS likely
FROM webhook.replaced_table AS r
JOIN webhook.watched AS v ON v.id = r.watch
JOIN pg_class AS c ON c.oid = v.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE r.watch = $1 AND NOT r.watched
