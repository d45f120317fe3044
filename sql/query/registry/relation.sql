-- What registration must know of relation $1, and of the rights of role $2 on it. $3 are the columns that
-- are sent, all of them where it is NULL. No row where it is not there, also where only an old snapshot still shows it.
SELECT
    c.relkind::text AS kind,
    c.relpersistence::text AS persistence,
    CASE c.relpersistence
        WHEN 't' THEN format('%I', c.relname)
        ELSE format('%I.%I', n.nspname, c.relname)
    END AS table_name,
    n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') OR c.oid < 16384 AS of_system,
    EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    ) AS of_extension,
    pg_has_role($2, c.relowner, 'USAGE') AS owns,
    has_table_privilege($2, c.oid, 'TRIGGER') AS may_trigger,
    (
        SELECT bool_and(has_column_privilege($2, c.oid, a.attnum, 'SELECT'))
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND ($3 IS NULL OR a.attname::text = ANY ($3))
    ) AS may_select,
    c.relrowsecurity AND NOT (SELECT r.rolbypassrls OR r.rolsuper FROM pg_roles AS r WHERE r.oid = $2) AS row_security,
    EXISTS (
        SELECT FROM pg_inherits AS i
        WHERE i.inhparent = c.oid AND c.relkind <> 'p'
    ) AS inherited
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = $1 AND has_table_privilege($2, c.oid, 'TRIGGER') IS NOT NULL
