-- For each of the types $1: the functions that row_to_json calls for a value of it, whether role $2 may be made
-- to run all of them (see registry/transform), and the tables behind the composite types in it. As the server does it,
-- domains, arrays and composites are looked through, and only what is in them and not built in has its cast looked for.
SELECT
    r.type,
    array_agg(f.oid) FILTER (WHERE f.oid IS NOT NULL),
    bool_and(o.rolsuper OR o.oid = $2) FILTER (WHERE f.oid IS NOT NULL),
    array_agg(t.typrelid) FILTER (WHERE t.typrelid <> 0)
FROM (SELECT DISTINCT g.type FROM unnest($1) AS g (type)) AS r
CROSS JOIN LATERAL webhook.types_in(r.type) AS p (type)
JOIN pg_type AS t ON t.oid = p.type
LEFT JOIN pg_cast AS c
    ON c.castsource = t.oid AND c.casttarget = 'json'::regtype AND c.castmethod = 'f'
    AND t.oid >= 16384 AND t.typtype NOT IN ('c', 'd') AND t.typsubscript <> 'array_subscript_handler'::regproc
LEFT JOIN pg_proc AS f ON f.oid = c.castfunc
LEFT JOIN pg_roles AS o ON o.oid = f.proowner
GROUP BY r.type
