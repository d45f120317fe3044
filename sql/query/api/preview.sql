-- The statement that asks what the trigger of webhook $1 for operation $3 on relation $2 would do with two
-- rows given as jsonb ($1 the new and $2 the old one, in its own parameters): whether its WHEN clause holds,
-- and what would be sent of each. No row where there is no such trigger. That an UPDATE needs a distinct row,
-- which the trigger function sees to, is asked as well.
SELECT format(
    'SELECT %s(%s)::boolean, %s, %s'
    ' FROM pg_catalog.jsonb_populate_record(NULL::%I.%I, $1::jsonb) AS new,'
    ' pg_catalog.jsonb_populate_record(NULL::%I.%I, $2::jsonb) AS old',
    CASE WHEN $3 = 'UPDATE' THEN '(old.* OPERATOR(pg_catalog.*<>) new.*) AND ' ELSE '' END,
    CASE
        WHEN starts_with(d.definition, d.prefix) THEN
            substr(d.definition, length(d.prefix) + 1,
                   length(d.definition) - length(d.prefix) - length(d.suffix))
        ELSE 'true'
    END,
    image.new, image.old, n.nspname, c.relname, n.nspname, c.relname
)
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN webhook.watch AS v ON v.webhook = $1 AND v.relation = t.tgrelid
CROSS JOIN LATERAL (
    SELECT
        pg_get_triggerdef(t.oid) AS definition,
        format('CREATE TRIGGER %I AFTER %s ON %I.%I FOR EACH ROW WHEN (', t.tgname, $3, n.nspname, c.relname) AS prefix,
        format(') EXECUTE FUNCTION webhook.capture(%L)', $1) AS suffix
) AS d
CROSS JOIN LATERAL (
    SELECT
        coalesce('(SELECT pg_catalog.row_to_json(x)::text FROM (SELECT ' || string_agg(format('new.%I', p), ', ')
            || ') AS x)', 'pg_catalog.row_to_json(new)::text') AS new,
        coalesce('(SELECT pg_catalog.row_to_json(x)::text FROM (SELECT ' || string_agg(format('old.%I', p), ', ')
            || ') AS x)', 'pg_catalog.row_to_json(old)::text') AS old
    FROM unnest(v.payload_columns) AS p
) AS image
WHERE t.tgrelid = $2
  AND t.tgfoid = 'webhook.capture()'::regprocedure
  AND t.tgargs = convert_to($1::text, 'UTF8') || decode('00', 'hex')
  AND t.tgenabled <> 'D'
  AND (t.tgtype & CASE $3 WHEN 'INSERT' THEN 4 WHEN 'DELETE' THEN 8 WHEN 'UPDATE' THEN 16 ELSE 32 END) <> 0
