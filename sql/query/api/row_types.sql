-- The statements that close the types of our tables' rows: a column of such a type keeps the table as it is.
SELECT format('REVOKE USAGE ON TYPE %s FROM PUBLIC', c.reltype::regtype) AS statement
FROM pg_extension AS e
JOIN pg_depend AS d
    ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
JOIN pg_class AS c ON c.oid = d.objid
WHERE e.extname = 'pg_webhook' AND c.reltype <> 0
