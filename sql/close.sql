-- Objects of the extension belong to its owner, whichever superuser updates it, and nothing is left of what they are born with: EXECUTE
-- for PUBLIC on functions, and whatever ALTER DEFAULT PRIVILEGES gives to anybody. What is meant to be granted follows after this. In the
-- script of an update, which has it after what it makes, that is for what was not there before: what has been granted on the others since
-- stays.
DO $$
DECLARE
    made record;
    grantee text;
BEGIN
    FOR made IN
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
        SELECT o.name, o.owner, o.acl, e.extowner, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.extowner)::pg_catalog.text) AS owns
        FROM object AS o
        CROSS JOIN pg_catalog.pg_extension AS e
        WHERE e.extname OPERATOR(pg_catalog.=) 'pg_webhook'
    LOOP
        IF made.owner OPERATOR(pg_catalog.<>) made.extowner THEN
            EXECUTE pg_catalog.format('ALTER %s OWNER TO %s', made.name, made.owns);
        END IF;
        FOR grantee IN
            SELECT DISTINCT CASE a.grantee
                WHEN 0 THEN 'PUBLIC'
                ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text)
            END
            FROM pg_catalog.aclexplode(made.acl) AS a
            WHERE a.grantee OPERATOR(pg_catalog.<>) ALL (ARRAY[made.owner, made.extowner])
        LOOP
            EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', made.name, grantee);
        END LOOP;
    END LOOP;
END
$$;
