-- For each of the types $1: the functions that row_to_json calls for a value of it, whether role $2 could have chosen
-- all of them (see registry/transform), and the tables behind the composite types in it. As the server does it,
-- domains, arrays and composites are looked through, and only what is in them and not built in has its cast looked for.
WITH RECURSIVE part (root, type) AS (
    SELECT t, t FROM unnest($1) AS t
    UNION
    SELECT p.root, inside.type
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
    SELECT $2::oid
    UNION
    SELECT m.roleid
    FROM acts_for AS a
    JOIN pg_auth_members AS m ON m.member = a.role
    WHERE coalesce((to_jsonb(m) ->> 'inherit_option')::boolean OR (to_jsonb(m) ->> 'set_option')::boolean, true)
)
SELECT
    p.root,
    array_agg(f.oid) FILTER (WHERE f.oid IS NOT NULL),
    bool_and(r.rolsuper OR r.oid IN (SELECT a.role FROM acts_for AS a)) FILTER (WHERE f.oid IS NOT NULL),
    array_agg(t.typrelid) FILTER (WHERE t.typrelid <> 0)
FROM part AS p
JOIN pg_type AS t ON t.oid = p.type
LEFT JOIN pg_cast AS c
    ON c.castsource = t.oid AND c.casttarget = 'json'::regtype AND c.castmethod = 'f'
    AND t.oid >= 16384 AND t.typtype NOT IN ('c', 'd') AND t.typsubscript <> 'array_subscript_handler'::regproc
LEFT JOIN pg_proc AS f ON f.oid = c.castfunc
LEFT JOIN pg_roles AS r ON r.oid = f.proowner
GROUP BY p.root
