-- Not a part of the installation: each script that updates the extension begins with it.
--
-- A domain that stands for a role or for a transform belongs to that role, which may rename it, to what the script is about to
-- make as well. So those that no webhook has get names that nobody wants.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    stray name;
BEGIN
    FOR stray IN
        SELECT y.typname
        FROM pg_catalog.pg_type AS y
        WHERE y.typnamespace = 'webhook'::regnamespace
          AND y.typtype = 'd'
          AND NOT EXISTS (SELECT FROM webhook.webhook AS w WHERE y.typname::text IN (w.owner, w.anchor))
          AND NOT EXISTS (SELECT FROM webhook.owner AS o WHERE o.anchor = y.typname::text)
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER DOMAIN webhook.%I RENAME TO %I',
            stray, 'transform_of_nothing_' || pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', '')
        );
    END LOOP;
END
$$;

SET LOCAL search_path = @extschema@, pg_temp;
