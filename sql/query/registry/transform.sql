-- What a transform must be, for a webhook of role $2: function $1 makes one jsonb of another; the role may call it, and
-- the function is its own or a superuser's. Otherwise whoever owns the function could put into it what runs with the
-- rights of $2. That $2 is a member of the owner is not enough: whoever may grant that role could make it so. No row
-- where one of both is not there.
SELECT
    p.oid::regprocedure::text AS name,
    p.prokind = 'f' AND NOT p.proretset AND p.prorettype = 'jsonb'::regtype
        AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype AS fits,
    has_function_privilege($2, p.oid, 'EXECUTE') AS callable,
    r.rolsuper OR r.oid = $2 AS trusted,
    r.rolname::text AS function_owner,
    (SELECT o.rolname::text FROM pg_roles AS o WHERE o.oid = $2) AS role
FROM pg_proc AS p
JOIN pg_roles AS r ON r.oid = p.proowner
WHERE p.oid = $1 AND has_function_privilege($2, p.oid, 'EXECUTE') IS NOT NULL
