-- A function that reading a row of table $1 or asking the condition of trigger $2 would call, and that role $3 could not
-- have written (see registry/transform): in a preview it would run with the rights of $3, and it does not when the row
-- is written. Checks of domains are called where a row is made out of JSON, in whatever the domain is contained.
WITH object (class, id) AS (
    SELECT 'pg_trigger'::regclass::oid, $2::oid
    UNION ALL
    SELECT 'pg_constraint'::regclass::oid, c.oid
    FROM pg_constraint AS c
    WHERE c.contypid IN (
        SELECT p.type
        FROM pg_attribute AS a
        CROSS JOIN LATERAL webhook.types_in(a.atttypid) AS p (type)
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    )
)
SELECT p.oid::regprocedure::text, r.rolname::text
FROM object AS o
JOIN pg_depend AS d ON d.classid = o.class AND d.objid = o.id
LEFT JOIN pg_operator AS op ON d.refclassid = 'pg_operator'::regclass AND op.oid = d.refobjid
JOIN pg_proc AS p
    ON p.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid WHEN 'pg_operator'::regclass THEN op.oprcode::oid END
    AND p.oid <> 'webhook.capture()'::regprocedure
JOIN pg_roles AS r ON r.oid = p.proowner
WHERE NOT r.rolsuper AND r.oid <> $3
LIMIT 1
