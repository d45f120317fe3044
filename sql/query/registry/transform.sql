-- What a transform must be: function $1, and whether role $2 may call it.
SELECT
    p.oid::regprocedure::text,
    p.prokind = 'f' AND NOT p.proretset AND p.prorettype = 'jsonb'::regtype
        AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype,
    has_function_privilege($2, p.oid, 'EXECUTE')
FROM pg_proc AS p
WHERE p.oid = $1
