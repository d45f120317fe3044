-- The statement that creates the trigger of webhook $1 for operation $2 on relation $3.
--
-- UPDATE counts only when the row is distinct, which the trigger function decides: for each statement
-- PostgreSQL reads and prepares a WHEN clause anew, which takes as long as capturing a row. Of listed
-- columns $4 have an equality, of $5 the images decide. $6 is the user's condition, known to be a single
-- expression; the line break ends a comment in it.
WITH clause AS (
    SELECT concat_ws(' OR ', own.typed, own.untyped) AS expression, 1 AS position
    FROM (
        SELECT
            (SELECT format('ROW(%s)::record OPERATOR(pg_catalog.<>) ROW(%s)::record',
                           string_agg(format('OLD.%I', c), ', '), string_agg(format('NEW.%I', c), ', '))
             FROM unnest($4) AS c HAVING count(*) > 0) AS typed,
            (SELECT format('ROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record',
                           string_agg(format('OLD.%I', c), ', '), string_agg(format('NEW.%I', c), ', '))
             FROM unnest($5) AS c HAVING count(*) > 0) AS untyped
    ) AS own
    WHERE $2 = 'UPDATE' AND cardinality($4) + cardinality($5) > 0
    UNION ALL
    SELECT $6 || E'\n', 2
    WHERE $6 IS NOT NULL
)
SELECT format(
    'CREATE TRIGGER %I AFTER %s ON %I.%I FOR EACH %s %s EXECUTE FUNCTION webhook.capture(%L)',
    webhook_trigger.name, $2, n.nspname, c.relname,
    CASE $2 WHEN 'TRUNCATE' THEN 'STATEMENT' ELSE 'ROW' END,
    (SELECT 'WHEN ((' || string_agg(expression, ') AND (' ORDER BY position) || '))' FROM clause
     HAVING count(*) > 0),
    $1
)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    -- Sorts before what users call their triggers: an AFTER trigger that changes the row again makes a
    -- later event.
    SELECT format('_webhook_%s_%s', $1, lower($2)) AS name
) AS webhook_trigger
WHERE c.oid = $3
