-- What concerns our tables from outside: rows that logical replication brings, publications, and triggers of others.

CREATE FUNCTION webhook.skip_applied() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_skip_applied';
COMMENT ON FUNCTION webhook.skip_applied IS
    'private: a trigger that leaves out what logical replication brings for the tables of pg_webhook';

-- In replica role, because what applies the changes of a publisher has it. The name sorts before those of others.
DO $$
DECLARE
    private record;
BEGIN
    FOR private IN
        SELECT c.oid::pg_catalog.regclass AS name
        FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace OPERATOR(pg_catalog.=) 'webhook'::pg_catalog.regnamespace
          AND c.relkind OPERATOR(pg_catalog.=) 'r'
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE TRIGGER _skip_applied BEFORE INSERT OR UPDATE OR DELETE ON %s'
            ' FOR EACH ROW EXECUTE FUNCTION webhook.skip_applied()',
            private.name
        );
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE REPLICA TRIGGER _skip_applied', private.name);
    END LOOP;
END
$$;

CREATE VIEW webhook.publication AS
SELECT p.pubname AS name, p.pubowner AS owner
FROM pg_catalog.pg_publication AS p
WHERE p.puballtables
   OR EXISTS (
       SELECT
       FROM pg_catalog.pg_publication_namespace AS s
       WHERE s.pnpubid = p.oid AND s.pnnspid = 'webhook'::regnamespace
   )
   OR EXISTS (
       SELECT
       FROM pg_catalog.pg_publication_rel AS r
       JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid
       WHERE r.prpubid = p.oid AND c.relnamespace = 'webhook'::regnamespace
   );
COMMENT ON VIEW webhook.publication IS 'private: publications that carry tables of pg_webhook';

CREATE VIEW webhook.surrounding AS
SELECT
    p.owner,
    'warning' AS severity,
    pg_catalog.format('publication %I carries the tables of pg_webhook', p.name) AS problem,
    'A subscriber without the extension stops replicating: CREATE EXTENSION pg_webhook there, first if it can be.' AS hint
FROM webhook.publication AS p
UNION ALL
-- Made where the library was not loaded, which takes them out: see src/host/subscription.rs.
SELECT
    s.subowner,
    CASE WHEN k.may THEN 'warning' ELSE 'error' END,
    pg_catalog.format('subscription %I includes tables of pg_webhook', s.subname),
    pg_catalog.concat(
        CASE WHEN NOT k.may THEN pg_catalog.format('Role %s may not write to them, so replication stops. ', s.subowner::regrole) END,
        pg_catalog.format(
            'With pg_webhook in shared_preload_libraries, ALTER SUBSCRIPTION %I REFRESH PUBLICATION takes them out. One that is being'
            ' copied by then stays: make the subscription anew.',
            s.subname
        )
    )
FROM pg_catalog.pg_subscription AS s
CROSS JOIN LATERAL (
    SELECT r.rolsuper AS may FROM pg_catalog.pg_roles AS r WHERE r.oid = s.subowner
) AS k
WHERE EXISTS (
    SELECT
    FROM pg_catalog.pg_subscription_rel AS r
    JOIN pg_catalog.pg_class AS c ON c.oid = r.srrelid
    WHERE r.srsubid = s.oid AND c.relnamespace = 'webhook'::regnamespace
)
UNION ALL
SELECT
    c.relowner,
    'warning',
    pg_catalog.format('trigger %I on %I.%I is not one of pg_webhook', t.tgname, n.nspname, c.relname),
    pg_catalog.format(
        CASE
            WHEN t.tgenabled IN ('A', 'R') THEN
                'It fires for statements of the worker, and delivery stops where it raises an error. DROP TRIGGER %I ON %I.%I'
            ELSE
                'It does not fire for what the worker writes, nor for events, so it does not tell all.'
                ' DROP TRIGGER %I ON %I.%I'
        END,
        t.tgname, n.nspname, c.relname
    )
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid AND c.relnamespace = 'webhook'::regnamespace
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
-- that of a partition goes with its parent's
WHERE NOT t.tgisinternal
  AND t.tgparentid = 0
  AND NOT EXISTS (
      SELECT
      FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_proc'::regclass
        AND d.objid = t.tgfoid
        AND d.refclassid = 'pg_extension'::regclass
        AND d.deptype = 'e'
        AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension AS e WHERE e.extname = 'pg_webhook')
  )
UNION ALL
SELECT
    c.relowner,
    'warning',
    pg_catalog.format('trigger _skip_applied on %I.%I is not as pg_webhook has made it', n.nspname, c.relname),
    pg_catalog.format(
        'Logical replication from another database with pg_webhook would change the table.'
        ' ALTER TABLE %I.%I ENABLE REPLICA TRIGGER _skip_applied',
        n.nspname, c.relname
    )
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relnamespace = 'webhook'::regnamespace
  AND c.relkind = 'r'
  AND NOT EXISTS (
      SELECT
      FROM pg_catalog.pg_trigger AS t
      WHERE t.tgrelid = c.oid AND t.tgfoid = 'webhook.skip_applied()'::regprocedure AND t.tgenabled = 'R'
  )
UNION ALL
SELECT
    c.relowner,
    'error',
    pg_catalog.format('table %I.%I is not stored as a heap', n.nspname, c.relname),
    pg_catalog.format(
        'Whatever writes to it fails, a change of a watched table or delivery. ALTER TABLE %I.%I SET ACCESS METHOD heap',
        n.nspname, c.relname
    )
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_am AS m ON m.oid = c.relam AND m.amname <> 'heap'
WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = 'r'
UNION ALL
SELECT
    c.relowner,
    'error',
    pg_catalog.format('table %I.%I is unlogged', n.nspname, c.relname),
    pg_catalog.format(
        'A crash of the server takes what is in it, and a standby does not have it. ALTER TABLE %I.%I SET LOGGED',
        n.nspname, c.relname
    )
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = 'r' AND c.relpersistence = 'u'
UNION ALL
-- What uses them has the rights of the schema's owner.
SELECT
    c.relowner,
    'warning',
    pg_catalog.format(
        'table %I.%I belongs to role %s, and schema webhook to role %s',
        n.nspname, c.relname, c.relowner::regrole, n.nspowner::regrole
    ),
    pg_catalog.format('ALTER TABLE %I.%I OWNER TO %s', n.nspname, c.relname, n.nspowner::regrole)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind IN ('r', 'p') AND c.relowner <> n.nspowner
UNION ALL
SELECT
    p.proowner,
    'error',
    pg_catalog.format(
        'function %s belongs to role %s, and schema webhook to role %s, which may not call it',
        p.oid::regprocedure, p.proowner::regrole, n.nspowner::regrole
    ),
    pg_catalog.format(
        'What needs it fails, delivery too. ALTER FUNCTION %s OWNER TO %s', p.oid::regprocedure, n.nspowner::regrole
    )
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE e.extname = 'pg_webhook'
  AND p.pronamespace = 'webhook'::regnamespace
  AND NOT pg_catalog.has_function_privilege(n.nspowner, p.oid, 'EXECUTE')
UNION ALL
-- A call of ours with fewer arguments, or with some that have no type yet, may mean it.
SELECT
    p.proowner,
    'warning',
    pg_catalog.format(
        'function %I.%I(%s) of role %I has the name of one of pg_webhook, beside it',
        n.nspname, p.proname, k.arguments, pg_catalog.pg_get_userbyid(p.proowner)
    ),
    pg_catalog.format(
        'Who calls ours may call that one. DROP ROUTINE %I.%I(%s), and let nobody create in schema %I whom not all trust.',
        n.nspname, p.proname, k.arguments, n.nspname
    )
FROM (
    SELECT DISTINCT o.proname, o.pronamespace
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
    JOIN pg_catalog.pg_proc AS o ON o.oid = d.objid AND o.pronamespace = e.extnamespace
    WHERE e.extname = 'pg_webhook'
) AS ours
JOIN pg_catalog.pg_proc AS p ON p.proname = ours.proname AND p.pronamespace = ours.pronamespace
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments) AS k
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
);
COMMENT ON VIEW webhook.surrounding IS 'private: what others have made that concerns the tables or the functions of pg_webhook';
