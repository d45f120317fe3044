-- The statement by which the caller makes the trigger of watch $1 for operation $2, in the place of one of that name. $3 is
-- the caller's condition, known to be a single expression; the line break ends a comment in it.
SELECT format(
    'CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH %s %s EXECUTE FUNCTION webhook.capture(%L)',
    s.name, s.operation, s.table_name,
    CASE s.operation WHEN 'TRUNCATE' THEN 'STATEMENT' ELSE 'ROW' END,
    'WHEN ((' || $3 || E'\n))',
    s.watch
) AS statement
FROM webhook.watched_trigger AS s
WHERE s.watch = $1 AND s.operation = $2
