-- Not a part of the installation: each script that updates the extension begins with it.
SET LOCAL search_path = pg_catalog, pg_temp;

-- A server that has not been restarted yet goes on with the library that it has loaded. The version is by now the one that the script
-- is about to make.
DO $$
DECLARE
    library text;
    version text;
BEGIN
    SELECT o.detail, x.extversion
    INTO library, version
    FROM pg_catalog.pg_extension AS x
    -- Of several steps each has a version of its own, and the library is that of the last.
    JOIN webhook.obstacles() AS o
        ON o.kind = 'version' AND string_to_array(o.detail, '.')::integer[] < string_to_array(x.extversion, '.')::integer[]
    WHERE x.extname = 'pg_webhook';
    IF FOUND THEN
        RAISE EXCEPTION 'the server runs version % of the library of pg_webhook, which does not know version %', library, version
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Restart the server, which loads the library that is installed now, and repeat ALTER EXTENSION pg_webhook'
                      ' UPDATE. Nothing has changed.';
    END IF;
END
$$;

-- The extension and all of its tables, at once or not at all. Whoever writes to a watched table uses several of them, in another
-- order. So nobody is waited for longer than PostgreSQL takes to look who is in a deadlock: no writer fails, and in between all get on,
-- the worker too.
DO $$
DECLARE
    ours text;
    tries integer := 0;
    users text;
BEGIN
    SELECT pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ' ORDER BY c.oid)
    INTO ours
    FROM pg_catalog.pg_extension AS x
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e'
        AND d.classid = 'pg_catalog.pg_class'::regclass
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
    WHERE x.extname = 'pg_webhook';
    PERFORM pg_catalog.set_config('lock_timeout', greatest(least(s.setting::integer / 2, 500), 1)::text, true)
    FROM pg_catalog.pg_settings AS s
    WHERE s.name = 'deadlock_timeout';
    LOOP
        BEGIN
            PERFORM webhook.bar();
            EXECUTE pg_catalog.format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', ours);
            EXIT;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                tries := tries + 1;
        END;
        -- It gives way to whoever waits, but only to who waits for longer than that. As it does there, not where it must not be put off.
        PERFORM pg_catalog.pg_stat_clear_snapshot();
        PERFORM pg_catalog.pg_cancel_backend(s.pid)
        FROM pg_catalog.pg_stat_activity AS s
        JOIN pg_catalog.pg_locks AS l ON l.pid = s.pid AND l.database = s.datid AND l.granted
        JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND c.relnamespace = 'webhook'::regnamespace
        WHERE s.datname = pg_catalog.current_database()
          AND s.backend_type = 'autovacuum worker'
          AND s.query NOT LIKE '%(to prevent wraparound)';
        IF tries = 60 THEN
            SELECT pg_catalog.string_agg(DISTINCT coalesce(l.pid::text, 'a prepared transaction'), ', ')
            INTO users
            FROM pg_catalog.pg_locks AS l
            JOIN pg_catalog.pg_database AS b ON b.oid = l.database AND b.datname = pg_catalog.current_database()
            LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
            LEFT JOIN pg_catalog.pg_stat_activity AS s ON s.pid = l.pid
            WHERE l.granted
              -- that were there before, and still are
              AND (l.pid IS NULL OR s.xact_start < pg_catalog.now())
              AND (
                  c.relnamespace = 'webhook'::regnamespace
                  OR l.classid = 'pg_catalog.pg_namespace'::regclass AND l.objid = 'webhook'::regnamespace
                  OR l.classid = 'pg_catalog.pg_extension'::regclass
                      AND l.objid = (SELECT x.oid FROM pg_catalog.pg_extension AS x WHERE x.extname = 'pg_webhook')
              );
            RAISE EXCEPTION 'transactions that use the tables of pg_webhook do not end: %', coalesce(users, 'there are others all the time')
                USING ERRCODE = 'lock_not_available',
                      HINT = 'These are processes of pg_stat_activity. Repeat ALTER EXTENSION pg_webhook UPDATE when they have ended.'
                          ' Nothing has changed.';
        END IF;
        PERFORM pg_catalog.pg_sleep(0.1);
    END LOOP;
END
$$;

-- What is there before, for close.sql, and who has the privileges of a level, for after_update.sql.
DO $$
BEGIN
    PERFORM pg_catalog.set_config(
        'updating.members', pg_catalog.string_agg(pg_catalog.format('%s.%s', d.classid, d.objid), ','), true
    )
    FROM pg_catalog.pg_extension AS x
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e'
    WHERE x.extname = 'pg_webhook';
    PERFORM pg_catalog.set_config('updating.levels', coalesce(pg_catalog.string_agg(l.role::text, ','), ''), true)
    FROM webhook.held_level AS l;
END
$$;

-- A domain that stands for a role or for a transform belongs to that role, which may rename it, to what the script is about to
-- make as well. So those that no webhook has get names that nobody wants.
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
