-- Nothing is left of what objects of the extension are born with: EXECUTE for PUBLIC on functions, and whatever
-- ALTER DEFAULT PRIVILEGES gives to anybody. What is meant to be granted follows after this. In the script of an update, which has it
-- after what it makes, that is for what was not there before: what has been granted on the others since stays.
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
              AND pg_catalog.format('%s.%s', d.classid::pg_catalog.oid, d.objid) OPERATOR(pg_catalog.<>) ALL (
                  pg_catalog.string_to_array(pg_catalog.current_setting('updating.members'), ',')
              )
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
