-- A function that reading a row of table $1 or asking the condition of trigger $2 would call, and that role $3 could not
-- have written (see registry/transform): in a preview it would run with the rights of $3, and it does not when the row
-- is written. Checks of domains are called where a row is made out of JSON, in whatever the domain is contained.
WITH RECURSIVE part (type) AS (
    SELECT a.atttypid
    FROM pg_attribute AS a
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT inside.type
    FROM part AS p
    JOIN pg_type AS t ON t.oid = p.type
    CROSS JOIN LATERAL (
        SELECT t.typbasetype AS type WHERE t.typtype = 'd'
        UNION ALL
        SELECT t.typelem WHERE t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc
        UNION ALL
        SELECT a.atttypid
        FROM pg_attribute AS a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS inside
), acts_for (role) AS (
    SELECT $3::oid
    UNION
    SELECT m.roleid
    FROM acts_for AS a
    JOIN pg_auth_members AS m ON m.member = a.role
    WHERE coalesce((to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true)
), object (class, id) AS (
    SELECT 'pg_trigger'::regclass::oid, $2::oid
    UNION ALL
    SELECT 'pg_constraint'::regclass::oid, c.oid
    FROM pg_constraint AS c
    WHERE c.contypid IN (SELECT p.type FROM part AS p)
)
SELECT p.oid::regprocedure::text, r.rolname::text
FROM object AS o
JOIN pg_depend AS d ON d.classid = o.class AND d.objid = o.id
LEFT JOIN pg_operator AS op ON d.refclassid = 'pg_operator'::regclass AND op.oid = d.refobjid
JOIN pg_proc AS p
    ON p.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid WHEN 'pg_operator'::regclass THEN op.oprcode::oid END
    AND p.oid <> 'webhook.capture()'::regprocedure
JOIN pg_roles AS r ON r.oid = p.proowner
WHERE NOT r.rolsuper AND r.oid NOT IN (SELECT a.role FROM acts_for AS a)
LIMIT 1
