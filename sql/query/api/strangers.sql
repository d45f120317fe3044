-- A type in the rows of table $1, or made by the condition of trigger $2, that would run code which role $3 could not have written.
-- In a preview that code would have the rights of $3; when a row is written it has only those of whoever writes.
--
-- A domain's check does where it calls a function of somebody else, or, if the domain is somebody else's, any function
-- that can do more than look at its arguments. Canonical functions of ranges are a superuser's.
WITH RECURSIVE part (type) AS (
    SELECT a.atttypid
    FROM pg_attribute AS a
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT d.refobjid
    FROM pg_depend AS d
    WHERE d.classid = 'pg_trigger'::regclass AND d.objid = $2 AND d.refclassid = 'pg_type'::regclass
    UNION
    SELECT inside.type
    FROM part AS p
    CROSS JOIN LATERAL (
        SELECT t.type FROM webhook.types_in(p.type) AS t (type)
        UNION ALL
        SELECT g.rngsubtype FROM pg_range AS g WHERE g.rngtypid = p.type
        UNION ALL
        SELECT g.rngtypid FROM pg_range AS g WHERE g.rngmultitypid = p.type
        UNION ALL
        SELECT d.refobjid
        FROM pg_constraint AS c
        JOIN pg_depend AS d ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
        WHERE c.contypid = p.type AND d.refclassid = 'pg_type'::regclass
    ) AS inside
), called (type, function, by_others) AS (
    SELECT p.type, m.parts[1]::oid, t.typowner <> $3 AND NOT o.rolsuper
    FROM part AS p
    JOIN pg_type AS t ON t.oid = p.type
    JOIN pg_roles AS o ON o.oid = t.typowner
    JOIN pg_constraint AS c ON c.contypid = p.type
    -- What depends on a function that is built in is recorded nowhere.
    CROSS JOIN LATERAL regexp_matches(c.conbin::text, ' :(?:op)?funcid ([0-9]+)', 'g') AS m (parts)
)
SELECT
    CASE WHEN judged.by_owner THEN 'function ' || f.oid::regprocedure ELSE 'type ' || c.type::regtype END AS what,
    CASE WHEN judged.by_owner THEN r.rolname ELSE o.rolname END::text AS owner
FROM called AS c
JOIN pg_proc AS f ON f.oid = c.function
JOIN pg_roles AS r ON r.oid = f.proowner
JOIN pg_type AS t ON t.oid = c.type
JOIN pg_roles AS o ON o.oid = t.typowner
CROSS JOIN LATERAL (SELECT r.oid <> $3 AND NOT r.rolsuper AS by_owner) AS judged
WHERE judged.by_owner OR (c.by_others AND f.provolatile <> 'i')
LIMIT 1
