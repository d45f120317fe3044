-- Who may see and manage what.

-- From here on nothing is made in the extension's schema, where others may have planted operators that
-- suit the operands of a view better than PostgreSQL's own.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE webhook.level (
    role         regrole PRIMARY KEY,
    level        text NOT NULL,
    -- USAGE on the extension's schema came with the level, and goes with it.
    schema_usage boolean NOT NULL
);
COMMENT ON TABLE webhook.level IS 'private: the levels of roles; the privileges that come with them do the work';
-- Elsewhere the number of a dropped role could be that of another one.
SELECT pg_catalog.pg_extension_config_dump('webhook.level', 'WHERE role::oid IN (SELECT oid FROM pg_catalog.pg_roles)');

CREATE TABLE webhook.emitter (
    role text PRIMARY KEY
);
COMMENT ON TABLE webhook.emitter IS
    'private: roles that got USAGE on the extension''s schema because a webhook names them among its emitters';
SELECT pg_catalog.pg_extension_config_dump('webhook.emitter', '');

CREATE VIEW webhook.visible WITH (security_barrier) AS
SELECT w.*
FROM webhook.webhook AS w
WHERE pg_catalog.pg_has_role(w.owner::oid, 'USAGE')
   OR EXISTS (
       SELECT FROM webhook.level AS l
       WHERE l.level = 'admin' AND pg_catalog.pg_has_role(l.role::oid, 'USAGE')
   );
COMMENT ON VIEW webhook.visible IS
    'private: the webhooks of roles that the reader is a member of, for an admin all of them';
