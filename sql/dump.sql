-- What a dump holds: webhooks, what they watch, and levels, with names in the place of numbers. A row that a dump has
-- brought finds what has these names there.

CREATE VIEW webhook.named_table AS
SELECT n.nspname::text AS schema_name, c.relname::text AS table_name, c.oid AS relation
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f');
COMMENT ON VIEW webhook.named_table IS 'private: tables, by what they are called';

-- pg_dump writes SELECT id, name, .. FROM webhook.watch, and what it is given here. So the columns in the place of which
-- others are dumped are called stored_.., and the others keep their names. What is dumped are the names of now, so that
-- something that has been renamed since is meant in the copy as well. pg_dump refuses to read from a view.
DO $$
DECLARE
    dumped pg_catalog.regclass;
    instead pg_catalog.text[];
    query pg_catalog.text;
    names pg_catalog.text;
BEGIN
    FOR dumped, instead, query IN VALUES
        ('webhook.webhook'::pg_catalog.regclass, '{emitters,owner_name}'::pg_catalog.text[], $query$
            CROSS JOIN LATERAL (SELECT
                ARRAY(
                    SELECT coalesce(r.rolname::text, e.name)
                    FROM pg_catalog.unnest(stored.stored_emitters) WITH ORDINALITY AS e (name, position)
                    LEFT JOIN webhook.emitter_role AS k ON k.webhook = stored.id AND k.name = e.name
                    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = k.role
                    WHERE k.role IS NULL OR r.oid IS NOT NULL
                    ORDER BY e.position
                ) AS emitters,
                coalesce(
                    (
                        SELECT pg_catalog.pg_get_userbyid(y.typowner)::text
                        FROM webhook.owner AS o
                        JOIN pg_catalog.pg_type AS y ON y.oid = o.type
                        WHERE o.anchor = stored.owner AND o.confirmed
                    ),
                    stored.stored_owner_name
                ) AS owner_name
            ) AS dumped
            WHERE stored.deleted_at IS NULL
            ORDER BY stored.id
        $query$),
        ('webhook.watch', '{relation,schema_name,table_name,columns,payload_columns}', $query$
            LEFT JOIN pg_catalog.pg_class AS c ON c.oid = stored.stored_relation
            LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            CROSS JOIN LATERAL (SELECT
                0 AS relation,
                CASE WHEN stored.stored_relation = 0 THEN stored.stored_schema_name ELSE n.nspname::text END AS schema_name,
                coalesce(c.relname::text, stored.stored_table_name) AS table_name,
                coalesce(
                    (
                        SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.position)
                        FROM webhook.watch_trigger AS r
                        CROSS JOIN LATERAL pg_catalog.unnest(r.columns) WITH ORDINALITY AS k (number, position)
                        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number AND NOT a.attisdropped
                        WHERE r.watch = stored.id AND r.operation = 'UPDATE'
                    ),
                    stored.stored_columns
                ) AS columns,
                (
                    SELECT pg_catalog.array_agg(
                        -- One that is gone keeps its name, unless another has it by now: none can be called ''.
                        coalesce(a.attname::text, CASE WHEN r.watch IS NULL OR o.attname IS NULL THEN k.name ELSE '' END)
                        ORDER BY k.position
                    )
                    FROM pg_catalog.unnest(stored.stored_payload_columns) WITH ORDINALITY AS k (name, position)
                    LEFT JOIN webhook.watch_payload AS r ON r.watch = stored.id
                    LEFT JOIN pg_catalog.pg_attribute AS a
                        ON a.attrelid = c.oid AND a.attnum = r.numbers[k.position] AND NOT a.attisdropped
                    LEFT JOIN pg_catalog.pg_attribute AS o ON o.attrelid = c.oid AND o.attname::text = k.name
                ) AS payload_columns
            ) AS dumped
            ORDER BY stored.id
        $query$),
        ('webhook.level', '{role,name}', $query$
            LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = stored.stored_role
            CROSS JOIN LATERAL (SELECT 0 AS role, coalesce(r.rolname::text, stored.stored_name) AS name) AS dumped
            WHERE stored.stored_role = 0 OR r.oid IS NOT NULL
            ORDER BY stored.id
        $query$)
    LOOP
        SELECT pg_catalog.string_agg(
            pg_catalog.quote_ident(CASE WHEN a.attname::text = ANY (instead) THEN 'stored_' || a.attname::text ELSE a.attname::text END),
            ', ' ORDER BY a.attnum
        )
        INTO names
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = dumped AND a.attnum > 0;
        PERFORM pg_catalog.pg_extension_config_dump(dumped, pg_catalog.format('AS stored (%s) %s', names, query));
    END LOOP;
END
$$;

-- Rows of a dump are told from those that are made here by what these begin with. A row that has no place is left out
-- with a message: as an error it would keep all the others out, too.
CREATE FUNCTION webhook.restore_webhook() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM webhook.webhook AS w WHERE w.uuid = NEW.uuid) THEN
        RAISE WARNING 'webhook "%" (%) of the dump is here already, and stays as it is', NEW.name, NEW.uuid;
        RETURN NULL;
    END IF;
    IF EXISTS (
        SELECT FROM webhook.webhook AS w WHERE w.name = NEW.name AND w.owner = NEW.owner AND w.deleted_at IS NULL
    ) THEN
        RAISE WARNING 'webhook "%" (%) of the dump is left out: its owner has another one of that name', NEW.name, NEW.uuid;
        RETURN NULL;
    END IF;
    WHILE EXISTS (SELECT FROM webhook.webhook AS w WHERE w.id = NEW.id) LOOP
        NEW.id := nextval('webhook.webhook_id_seq');
    END LOOP;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook.restore_webhook IS 'private: finds a place for a webhook of a dump';

CREATE FUNCTION webhook.restore_watch() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A webhook that was here before stays as it is, as restore_webhook says. One that has just been restored is of another
    -- installation.
    IF EXISTS (SELECT FROM webhook.watch AS v WHERE v.id = NEW.id)
        OR EXISTS (
            SELECT FROM webhook.webhook AS w
            WHERE w.uuid = NEW.webhook
              AND (w.deleted_at IS NOT NULL OR w.installation IN (SELECT i.id FROM webhook.installation AS i))
        )
    THEN
        RETURN NULL;
    END IF;
    NEW.relation := coalesce(
        (SELECT t.relation FROM webhook.named_table AS t WHERE t.schema_name = NEW.schema_name AND t.table_name = NEW.table_name),
        0
    );
    IF NEW.relation = 0 THEN
        RAISE WARNING 'table % is not there, which webhook % of the dump watches',
            concat(quote_ident(NEW.schema_name) || '.', quote_ident(NEW.table_name)), NEW.webhook;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook.restore_watch IS 'private: finds the table of a watch of a dump';

CREATE FUNCTION webhook.restore_level() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    had text;
BEGIN
    NEW.role := coalesce((SELECT r.oid FROM pg_roles AS r WHERE r.rolname::text = NEW.name), 0);
    SELECT l.level INTO had FROM webhook.level AS l WHERE l.role = NEW.role AND l.role <> 0 OR l.id = NEW.id;
    IF had IS NULL THEN
        RETURN NEW;
    END IF;
    IF had <> NEW.level THEN
        RAISE WARNING 'role "%" is % in the dump, and stays % here', NEW.name, NEW.level, had;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhook.restore_level IS 'private: finds the role of a level of a dump';

CREATE TRIGGER restore BEFORE INSERT ON webhook.webhook FOR EACH ROW
    WHEN (NEW.created_at <> pg_catalog.now()) EXECUTE FUNCTION webhook.restore_webhook();
CREATE TRIGGER restore BEFORE INSERT ON webhook.watch FOR EACH ROW
    WHEN (NEW.relation = 0) EXECUTE FUNCTION webhook.restore_watch();
CREATE TRIGGER restore BEFORE INSERT ON webhook.level FOR EACH ROW
    WHEN (NEW.role = 0) EXECUTE FUNCTION webhook.restore_level();
-- Data is also restored in replica role.
ALTER TABLE webhook.webhook ENABLE ALWAYS TRIGGER restore;
ALTER TABLE webhook.watch ENABLE ALWAYS TRIGGER restore;
ALTER TABLE webhook.level ENABLE ALWAYS TRIGGER restore;
