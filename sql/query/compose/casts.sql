-- For the types $1: what is not built in and values of them are written by, which is what a domain is made of and what is
-- in an array or a composite type; its cast to json, if that is a function; and whether a webhook of role $2, where
-- that is not NULL, may make role $2 run it (see registry/transform). And the tables behind composite types, which can
-- get further attributes.
SELECT DISTINCT
    t.oid AS type, f.oid AS function, $2 IS NOT NULL AND (o.rolsuper OR o.oid = $2) AS callable,
    nullif(t.typrelid, 0) AS composite
FROM unnest($1) AS g (type)
CROSS JOIN LATERAL webhook.types_in(g.type) AS p (type)
JOIN pg_type AS t ON t.oid = p.type
LEFT JOIN pg_cast AS c
    ON c.castsource = t.oid AND c.casttarget = 'json'::regtype AND c.castmethod = 'f'
    AND t.typtype NOT IN ('c', 'd') AND t.typsubscript <> 'array_subscript_handler'::regproc
-- More arguments say how the cast is written, and there is nobody who has written it.
LEFT JOIN pg_proc AS f ON f.oid = c.castfunc AND f.pronargs = 1
LEFT JOIN pg_roles AS o ON o.oid = f.proowner
WHERE t.oid >= 16384
