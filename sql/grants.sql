-- Nothing is left of what objects of the extension are born with: EXECUTE for PUBLIC on functions, and whatever
-- ALTER DEFAULT PRIVILEGES gives to anybody. What is meant to be granted follows after this.
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        WITH member AS (
            SELECT d.classid, d.objid
            FROM pg_catalog.pg_depend AS d
            JOIN pg_catalog.pg_extension AS e
                ON e.oid OPERATOR(pg_catalog.=) d.refobjid
                AND e.extname OPERATOR(pg_catalog.=) 'pg_webhook'
            WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
              AND d.deptype OPERATOR(pg_catalog.=) 'e'
        ), object (name, owner, acl) AS (
            SELECT
                pg_catalog.format('FUNCTION %s', p.oid::pg_catalog.regprocedure),
                p.proowner,
                coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
            FROM member AS m
            JOIN pg_catalog.pg_proc AS p
                ON m.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                AND m.objid OPERATOR(pg_catalog.=) p.oid
            UNION ALL
            SELECT
                pg_catalog.format(
                    CASE c.relkind WHEN 'S' THEN 'SEQUENCE %s' ELSE 'TABLE %s' END, c.oid::pg_catalog.regclass
                ),
                c.relowner,
                c.relacl
            FROM member AS m
            JOIN pg_catalog.pg_class AS c
                ON m.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                AND m.objid OPERATOR(pg_catalog.=) c.oid
            UNION ALL
            SELECT pg_catalog.format('TYPE %s', t.oid::pg_catalog.regtype), t.typowner, t.typacl
            FROM member AS m
            JOIN pg_catalog.pg_type AS t
                ON m.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
                AND m.objid OPERATOR(pg_catalog.=) t.oid
            UNION ALL
            SELECT pg_catalog.format('SCHEMA %I', n.nspname), n.nspowner, n.nspacl
            FROM member AS m
            JOIN pg_catalog.pg_namespace AS n
                ON m.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
                AND m.objid OPERATOR(pg_catalog.=) n.oid
        )
        SELECT DISTINCT
            o.name AS object,
            CASE a.grantee
                WHEN 0 THEN 'PUBLIC'
                ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text)
            END AS grantee
        FROM object AS o
        CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS a
        WHERE a.grantee OPERATOR(pg_catalog.<>) o.owner
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', given.object, given.grantee);
    END LOOP;
END
$$;

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
