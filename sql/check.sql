-- What is wrong with webhooks, triggers, bounds and levels, as webhook_check and the health of webhooks show it. Private: for all
-- webhooks, whoever asks.

CREATE VIEW webhook.watched AS
SELECT
    v.id,
    w.id AS webhook,
    v.relation,
    -- what to call the table when it is gone
    pg_catalog.concat(pg_catalog.quote_ident(v.schema_name) || '.', pg_catalog.quote_ident(v.table_name)) AS old_name,
    v.events,
    v.columns,
    v.condition,
    v.payload_columns,
    v.created_at
FROM webhook.watch AS v
JOIN webhook.webhook AS w ON w.uuid = v.webhook;
COMMENT ON VIEW webhook.watched IS 'private: watches, each with its webhook''s id';

CREATE VIEW webhook.update_columns AS
SELECT
    v.id AS watch,
    (
        SELECT pg_catalog.array_agg(a.attnum ORDER BY c.position)
        FROM pg_catalog.unnest(v.columns) WITH ORDINALITY AS c (name, position)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = v.relation AND a.attname::text = c.name AND a.attnum > 0
    ) AS numbers,
    coalesce(
        (
            SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.position)
            FROM webhook.watch_trigger AS r
            CROSS JOIN LATERAL pg_catalog.unnest(r.columns) WITH ORDINALITY AS k (number, position)
            JOIN pg_catalog.pg_attribute AS a
                ON a.attrelid = v.relation AND a.attnum = k.number AND NOT a.attisdropped
            WHERE r.watch = v.id AND r.operation = 'UPDATE'
        ),
        v.columns
    ) AS names
FROM webhook.watch AS v;
COMMENT ON VIEW webhook.update_columns IS
    'private: the columns of which an UPDATE must change one: those of the names, and what those that were named are called now';

CREATE VIEW webhook.payload_column AS
SELECT
    v.id AS watch,
    k.position,
    k.name AS named,
    a.attnum AS number,
    a.attname::text AS name
FROM webhook.watch AS v
CROSS JOIN LATERAL pg_catalog.unnest(v.payload_columns) WITH ORDINALITY AS k (name, position)
LEFT JOIN webhook.watch_payload AS r ON r.watch = v.id
LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = v.relation AND a.attnum > 0 AND NOT a.attisdropped
    AND CASE WHEN r.watch IS NULL THEN a.attname::text = k.name ELSE a.attnum = r.numbers[k.position] END;
COMMENT ON VIEW webhook.payload_column IS
    'private: the columns that are sent, as they were named and as they are called now; without a number where one is gone';

-- The argument is read as far as it can be that of a watch: whoever may make a trigger may give it any.
CREATE VIEW webhook.capture_trigger AS
SELECT
    t.oid,
    t.tgrelid AS relation,
    t.tgname AS name,
    t.tgtype AS type,
    t.tgenabled AS enabled,
    t.tgparentid AS parent,
    CASE pg_catalog.octet_length(t.tgargs)
        WHEN 37 THEN pg_catalog.left(pg_catalog.encode(t.tgargs, 'escape'), 36)
    END AS watch
FROM pg_catalog.pg_trigger AS t
WHERE t.tgfoid = 'webhook.capture()'::regprocedure;
COMMENT ON VIEW webhook.capture_trigger IS
    'private: the triggers that call our function, whoever has made them, and the watch that each says it is for';

CREATE VIEW webhook.watched_trigger AS
SELECT
    v.id AS watch,
    v.webhook,
    v.relation,
    pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name,
    o.operation,
    k.type,
    k.name,
    t.oid AS trigger,
    t.tgenabled AS enabled,
    -- Made by us, but for its condition.
    coalesce(
        t.tgfoid = 'webhook.capture()'::regprocedure
        AND t.tgargs = pg_catalog.convert_to(v.id::text, 'UTF8') || pg_catalog.decode('00', 'hex')
        AND t.tgtype = k.type
        AND t.tgattr::text = ''
        AND t.tgparentid = 0
        AND t.tgconstraint = 0
        AND t.tgoldtable IS NULL
        AND t.tgnewtable IS NULL,
        false
    ) AS ours,
    -- Whoever holds TRIGGER on the table may replace it.
    t.oid IS NOT NULL
        AND (
            r.watch IS NULL
            OR r.condition IS NOT DISTINCT FROM pg_catalog.sha256(pg_catalog.convert_to(t.tgqual::text, 'UTF8'))
            -- where trees may be written differently
            OR EXISTS (SELECT FROM webhook.home AS h WHERE NOT h.is_database)
        )
        AS unchanged
FROM webhook.watched AS v
CROSS JOIN LATERAL pg_catalog.unnest(v.events) AS o (operation)
CROSS JOIN LATERAL (
    SELECT
        CASE o.operation WHEN 'INSERT' THEN 5 WHEN 'DELETE' THEN 9 WHEN 'UPDATE' THEN 17 WHEN 'TRUNCATE' THEN 32 END AS type,
        -- Sorts before what users call their triggers: an AFTER trigger that changes the row again makes a
        -- later event.
        pg_catalog.format('_webhook_%s_%s', v.id, pg_catalog.lower(o.operation)) AS name
) AS k
JOIN pg_catalog.pg_class AS c ON c.oid = v.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = v.relation AND t.tgname = k.name::name
LEFT JOIN webhook.watch_trigger AS r ON r.watch = v.id AND r.operation = o.operation;
COMMENT ON VIEW webhook.watched_trigger IS
    'private: the triggers that watches of existing tables should have, and whether they have them';

-- What a webhook's owner may read of a watched table now, as it is asked when the table is watched.
CREATE VIEW webhook.watch_right AS
SELECT
    v.id AS watch,
    v.webhook,
    -- columns of whole rows that are left out
    x.hidden,
    -- one of payload_columns that has been dropped
    y.gone,
    -- why nothing is captured
    CASE
        WHEN w.role IS NULL THEN 'the role that the webhook belonged to is gone'
        WHEN y.gone IS NOT NULL THEN pg_catalog.format(
            'column %I of %I.%I, which is among payload_columns, has been dropped', y.gone, n.nspname, c.relname
        )
        WHEN o.owns THEN NULL
        WHEN o.row_security THEN
            pg_catalog.format('table %I.%I has row-level security, which only its owner may pass by', n.nspname, c.relname)
        WHEN y.hidden IS NOT NULL THEN pg_catalog.format(
            'role %s may not read column %I of %I.%I, which is among payload_columns',
            w.role::regrole, y.hidden, n.nspname, c.relname
        )
        WHEN x.readable = 0 AND v.payload_columns IS NULL THEN
            pg_catalog.format('role %s may read nothing of %I.%I', w.role::regrole, n.nspname, c.relname)
    END AS bar
FROM webhook.watched AS v
JOIN webhook.owned AS w ON w.id = v.webhook
JOIN pg_catalog.pg_class AS c ON c.oid = v.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.pg_has_role(w.role, c.relowner, 'USAGE') AS owns,
        c.relrowsecurity AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = w.role AND (r.rolsuper OR r.rolbypassrls)
        ) AS row_security
) AS o
CROSS JOIN LATERAL (
    SELECT
        coalesce(
            pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE NOT a.readable), '{}'
        ) AS hidden,
        pg_catalog.count(*) FILTER (WHERE a.readable) AS readable
    FROM (
        SELECT
            t.attname,
            t.attnum,
            o.owns OR pg_catalog.has_column_privilege(w.role, c.oid, t.attnum, 'SELECT') AS readable
        FROM pg_catalog.pg_attribute AS t
        WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
    ) AS a
) AS x
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.min(p.named) FILTER (WHERE p.number IS NULL) AS gone,
        pg_catalog.min(p.name) FILTER (WHERE p.name = ANY (x.hidden)) AS hidden
    FROM webhook.payload_column AS p
    WHERE p.watch = v.id
) AS y;
COMMENT ON VIEW webhook.watch_right IS
    'private: what the owners of webhooks may read of the tables that they watch, and what is there';

-- Webhooks whose transform cannot be called, and why: as registry/transform.sql asks it for one. Which function it is, is
-- read as src/host/anchor.rs does, from a call of it with one NULL of type jsonb (3802).
CREATE VIEW webhook.transform_bar AS
WITH named AS (
    SELECT w.id AS webhook, w.role, y.typdefaultbin IS NOT NULL AS is_there, p.oid AS function, p.proowner
    FROM webhook.owned AS w
    LEFT JOIN pg_catalog.pg_type AS y
        ON y.typname = w.anchor::name AND y.typnamespace = 'webhook'::regnamespace AND y.typowner = w.role
        AND y.typtype = 'd' AND y.typbasetype = 'jsonb'::regtype
    LEFT JOIN LATERAL pg_catalog.regexp_match(
        y.typdefaultbin::text,
        '^{FUNCEXPR :funcid ([0-9]+) [^{}]*:args [(]{CONST :consttype 3802 [^{}]*:constisnull true [^{}]*}[)] [^{}]*}$'
    ) AS m (parts) ON true
    LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = m.parts[1]::oid
    WHERE w.anchor IS NOT NULL AND w.deleted_at IS NULL AND w.role IS NOT NULL AND w.confirmed
)
SELECT
    n.webhook,
    CASE
        WHEN n.function IS NULL AND n.is_there THEN 'what says which function the transform is has been changed'
        WHEN n.function IS NULL THEN 'the transform has been dropped'
        WHEN NOT pg_catalog.has_function_privilege(n.role, n.function, 'EXECUTE') THEN
            pg_catalog.format('role %s may not call %s', n.role::regrole, n.function::regprocedure)
        WHEN NOT r.rolsuper AND r.oid <> n.role THEN
            pg_catalog.format(
                'function %s of role %s cannot run as role %s', n.function::regprocedure, r.rolname,
                pg_catalog.pg_get_userbyid(n.role)
            )
    END AS bar
FROM named AS n
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = n.proowner;
COMMENT ON VIEW webhook.transform_bar IS 'private: why the transforms of webhooks cannot be called';

CREATE VIEW webhook.chosen_transform AS
SELECT
    w.id AS webhook,
    pg_catalog.replace(pg_catalog.pg_get_expr(y.typdefaultbin, 0), '(NULL::jsonb)', '(jsonb)') COLLATE "default" AS function
FROM webhook.webhook AS w
JOIN pg_catalog.pg_type AS y ON y.typname = w.anchor::name AND y.typnamespace = 'webhook'::regnamespace
WHERE w.anchor IS NOT NULL;
COMMENT ON VIEW webhook.chosen_transform IS 'private: the transforms of webhooks, as they are called now';

-- A migration that makes a table anew leaves the watch with the one that it was on, or with none. Which one is meant is for
-- somebody to say. A statement is proposed only where the webhook's owner could run it. What it and others give to a function of
-- ours has a type, here and below: it would be that of an argument of another function of this name, which somebody may have
-- made beside ours.
CREATE VIEW webhook.replaced_table AS
SELECT
    v.id AS watch,
    pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name,
    EXISTS (SELECT FROM webhook.watch AS o WHERE o.webhook = v.webhook AND o.relation = c.oid) AS watched,
    c.relowner AS owner,
    CASE WHEN pg_catalog.has_table_privilege(w.role, c.oid, 'TRIGGER') THEN pg_catalog.format(
        'SELECT %s.webhook_watch(%L::text, %L::regclass, events => %L::text[], columns => %L::text[], condition => %L::text,'
        ' payload_columns => %L::text[])',
        f.name, w.uuid, pg_catalog.format('%I.%I', n.nspname, c.relname), v.events, u.names, v.condition,
        (SELECT pg_catalog.array_agg(coalesce(p.name, p.named) ORDER BY p.position) FROM webhook.payload_column AS p WHERE p.watch = v.id)
    ) END AS remedy,
    v.condition IS NOT NULL AS has_condition
FROM webhook.watch AS v
JOIN webhook.owned AS w ON w.uuid = v.webhook
JOIN webhook.update_columns AS u ON u.watch = v.id
JOIN pg_catalog.pg_namespace AS n ON n.nspname = v.schema_name::name
JOIN pg_catalog.pg_class AS c
    ON c.relname = v.table_name::name AND c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'f') AND c.oid <> v.relation
CROSS JOIN webhook.function_schema AS f;
COMMENT ON VIEW webhook.replaced_table IS 'private: tables that have the names that watched ones had when they were watched';

-- What is wrong with webhooks: one arm for each cause. What has severity error keeps events from being captured or sent: it makes a
-- webhook "broken". What several arms look at is read once, and planned once, which takes most of the time of a look at
-- webhook.webhooks. stage: what fails, capture, transform or sending.
CREATE VIEW webhook.problem AS
WITH RECURSIVE f AS MATERIALIZED (
    SELECT s.name FROM webhook.function_schema AS s
), owned AS MATERIALIZED (
    SELECT w.id, w.uuid, w.name, w.role, w.confirmed, w.anchor, w.owner_name, w.event_types
    FROM webhook.owned AS w
    WHERE w.deleted_at IS NULL
), made AS MATERIALIZED (
    SELECT s.* FROM webhook.watched_trigger AS s
), fires AS MATERIALIZED (
    SELECT t.relation, t.name, t.watch, t.type, t.enabled, t.parent FROM webhook.capture_trigger AS t
), seen AS MATERIALIZED (
    SELECT v.id, v.webhook, v.relation, v.old_name, v.payload_columns, c.relname, n.nspname, c.relowner
    FROM webhook.watched AS v
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = v.relation
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
), replaced AS MATERIALIZED (
    SELECT r.* FROM webhook.replaced_table AS r
), rights AS MATERIALIZED (
    SELECT q.watch, q.webhook, q.hidden, q.gone, q.bar FROM webhook.watch_right AS q
), renamed AS MATERIALIZED (
    -- triggers of watches under another name
    SELECT s.watch, s.webhook, s.table_name, s.operation, s.name, t.name AS renamed
    FROM made AS s
    JOIN fires AS t ON t.relation = s.relation AND t.watch = s.watch::text AND t.type = s.type AND t.parent = 0
    WHERE s.trigger IS NULL
), mute AS MATERIALIZED (
    -- Those of partitions, and of tables that inherit; each of them can be disabled alone. None fires on a table that is
    -- partitioned itself. There are few of these, and could be many of the others: so it begins with them.
    SELECT t.relation, t.name, t.watch, t.type, t.enabled, pg_catalog.format('%I.%I', n.nspname, c.relname) AS table_name
    FROM fires AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.relation AND c.relkind <> 'p'
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.enabled IN ('D', 'R')
), above (relation, ancestor) AS (
    SELECT i.inhrelid, i.inhparent
    FROM pg_catalog.pg_inherits AS i
    WHERE i.inhrelid IN (SELECT m.relation FROM mute AS m)
    UNION
    SELECT a.relation, i.inhparent
    FROM above AS a
    JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.ancestor
), part (watch, relation) AS (
    -- Not by pg_partition_tree, which waits for whoever changes one of them.
    SELECT v.id, v.relation FROM seen AS v
    UNION
    SELECT p.watch, i.inhrelid
    FROM part AS p
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.relation
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhparent AND c.relkind = 'p'
)
-- Whoever runs a remedy with a condition brings that, and what it calls runs as whoever does: so it is for the owner, who has
-- written it, to see.
SELECT
    v.webhook,
    -- Somebody else's is hardly the one that is meant, and the old one is captured.
    CASE WHEN v.relname IS NULL OR r.owner = v.relowner THEN 'error' ELSE 'warning' END AS severity,
    'capture' AS stage,
    CASE
        WHEN v.relname IS NOT NULL THEN
            pg_catalog.format('table %s is called %s now, and another one has its name', v.old_name, k.name)
        ELSE pg_catalog.concat(
            pg_catalog.format(
                CASE v.relation WHEN 0 THEN 'table %s was not there when a dump was restored' ELSE 'table %s has been dropped' END,
                v.old_name
            ),
            CASE WHEN r.watch IS NOT NULL THEN ', and another one has its name' END
        )
    END AS problem,
    CASE
        WHEN v.relname IS NOT NULL THEN pg_catalog.concat(
            CASE
                WHEN NOT r.has_condition THEN a.other
                WHEN r.remedy IS NOT NULL THEN pg_catalog.format(
                    'Role %s, to whom the webhook belongs, is told here how to watch that one instead, with its condition. ',
                    w.role::regrole
                )
            END,
            a.same
        )
        WHEN r.has_condition AND r.remedy IS NOT NULL THEN pg_catalog.format(
            'Role %s, to whom the webhook belongs, is told here how to watch that one with its condition%s', w.role::regrole, a.over
        )
        ELSE pg_catalog.concat(a.proposal, a.over)
    END AS hint,
    CASE WHEN v.relname IS NOT NULL THEN pg_catalog.concat(a.other, a.same) ELSE pg_catalog.concat(a.proposal, a.over) END
        AS hint_for_owner
FROM seen AS v
JOIN owned AS w ON w.id = v.webhook
CROSS JOIN f
LEFT JOIN replaced AS r ON r.watch = v.id
CROSS JOIN LATERAL (SELECT pg_catalog.format('%I.%I', v.nspname, v.relname) AS name) AS k
CROSS JOIN LATERAL (
    SELECT
        -- in this order, because the old one may be a partition of the other by now
        pg_catalog.format('SELECT %s.webhook_unwatch(%L::text, %L::regclass); ', f.name, w.uuid, k.name) || r.remedy
            || ' watches that one instead. ' AS other,
        pg_catalog.format(
            '%s.webhook_update(.., table_name => %L) says that it is the old one that is meant.', f.name, k.name
        ) AS same,
        coalesce(
            r.remedy || ' watches that one',
            pg_catalog.format('Watch another one with %1$s.webhook_watch or %1$s.webhook_update', f.name)
        ) AS proposal,
        pg_catalog.format(', or end this with SELECT %s.webhook_unwatch(%L::text, %s::regclass).', f.name, w.uuid, v.relation) AS over
) AS a
WHERE CASE WHEN v.relname IS NULL THEN r.watched IS NOT TRUE ELSE NOT r.watched END
UNION ALL
SELECT o.webhook, o.severity, o.stage, o.problem, o.hint, o.hint
FROM (
    SELECT
        s.webhook,
        'error' AS severity,
        'capture' AS stage,
        pg_catalog.format('the trigger for %s on %s is missing', s.operation, s.table_name) AS problem,
        pg_catalog.format(
            '%1$s.webhook_update makes it again where it is given the events, and the condition if there is one. Where the'
            ' webhook watches several tables: %1$s.webhook_unwatch and %1$s.webhook_watch.',
            f.name
        ) AS hint
    FROM made AS s
    CROSS JOIN f
    WHERE s.trigger IS NULL
      AND NOT EXISTS (SELECT FROM renamed AS r WHERE r.watch = s.watch AND r.operation = s.operation)
    UNION ALL
    SELECT
        r.webhook,
        'error',
        'capture',
        pg_catalog.format('the trigger for %s on %s has been renamed', r.operation, r.table_name),
        pg_catalog.format('ALTER TRIGGER %I ON %s RENAME TO %I', r.renamed, r.table_name, r.name)
    FROM renamed AS r
    UNION ALL
    SELECT
        s.webhook,
        'error',
        'capture',
        pg_catalog.format('the trigger for %s on %s is not the one that was made', s.operation, s.table_name),
        pg_catalog.format(
            'Somebody has replaced it, and it captures nothing. %1$s.webhook_update makes it again where it is given the events,'
            ' and the condition if there is one. Where the webhook watches several tables: %1$s.webhook_unwatch and'
            ' %1$s.webhook_watch.',
            f.name
        )
    FROM made AS s
    CROSS JOIN f
    WHERE s.trigger IS NOT NULL AND NOT (s.ours AND s.unchanged)
    UNION ALL
    -- The second somebody may want, to capture on a subscriber what comes from the publisher and nothing else.
    SELECT
        s.webhook,
        k.severity,
        'capture',
        pg_catalog.format(k.problem, s.operation, s.table_name),
        pg_catalog.format('ALTER TABLE %s ENABLE TRIGGER %I', s.table_name, s.name)
    FROM (
        SELECT t.webhook, t.operation, t.name, t.table_name, t.enabled
        FROM made AS t
        WHERE t.ours AND t.unchanged
        UNION ALL
        SELECT t.webhook, t.operation, t.name, m.table_name, m.enabled
        FROM mute AS m
        JOIN above AS a ON a.relation = m.relation
        JOIN made AS t ON t.relation = a.ancestor AND t.name::name = m.name AND t.type = m.type AND t.watch::text = m.watch
        WHERE t.ours AND t.unchanged
    ) AS s
    JOIN (
        VALUES
            ('D'::"char", 'error', 'the trigger for %s on %s is disabled'),
            ('R', 'warning', 'the trigger for %s on %s fires with session_replication_role = replica only')
    ) AS k (enabled, severity, problem) ON k.enabled = s.enabled
    UNION ALL
    SELECT
        q.webhook,
        'error',
        'capture',
        q.bar,
        pg_catalog.format(
            CASE
                WHEN q.bar = 'the role that the webhook belonged to is gone' THEN
                    'The worker deletes such webhooks; %1$s.webhook_delete does it at once.'
                WHEN q.gone IS NOT NULL THEN
                    'Nothing of the table is captured. Name other columns with %1$s.webhook_update(.., payload_columns => ..), or end'
                    ' this with %1$s.webhook_unwatch.'
                ELSE
                    'Nothing of the table is captured. Give the webhook''s owner the right, or the webhook to another role with'
                    ' %1$s.webhook_update(.., owner => ..), or name other payload_columns, or end this with %1$s.webhook_unwatch.'
            END,
            f.name
        )
    FROM rights AS q
    CROSS JOIN f
    WHERE q.bar IS NOT NULL
    UNION ALL
    SELECT
        q.webhook,
        'warning',
        'capture',
        pg_catalog.format('column %s of %s is left out, because the webhook''s owner may not read it',
            pg_catalog.quote_ident(h.name), v.old_name),
        'GRANT SELECT on it, or name what is to be sent in payload_columns.'
    FROM rights AS q
    JOIN seen AS v ON v.id = q.watch AND v.payload_columns IS NULL
    CROSS JOIN LATERAL pg_catalog.unnest(q.hidden) AS h (name)
    WHERE q.bar IS NULL
    UNION ALL
    SELECT
        t.webhook,
        'error',
        'transform',
        t.bar,
        pg_catalog.format(
            'Events become dead letters, which %1$s.webhook_replay transforms again. %1$s.webhook_update names another'
            ' transform.',
            f.name
        )
    FROM webhook.transform_bar AS t
    CROSS JOIN f
    WHERE t.bar IS NOT NULL
    UNION ALL
    SELECT
        w.id,
        CASE WHEN w.anchor IS NULL THEN 'warning' ELSE 'error' END,
        'transform',
        pg_catalog.format(
            'the webhook came with a dump in which it belonged to role %s, and belongs to role %s here: it runs no transform and'
            ' no cast',
            w.owner_name, pg_catalog.pg_get_userbyid(w.role)
        ),
        pg_catalog.format(
            'SELECT %s.webhook_update(%L::text, owner => %L::regrole) confirms that what it runs may have the rights of that role.',
            f.name, w.uuid, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(w.role))
        )
    FROM owned AS w
    CROSS JOIN f
    WHERE w.role IS NOT NULL AND NOT w.confirmed
    UNION ALL
    SELECT
        v.webhook,
        'warning',
        'capture',
        pg_catalog.format('table %I.%I is unlogged: a crash of the server takes its rows, and their events are sent',
            n.nspname, c.relname),
        pg_catalog.format('ALTER TABLE %I.%I SET LOGGED', n.nspname, c.relname)
    FROM part AS p
    JOIN seen AS v ON v.id = p.watch
    JOIN pg_catalog.pg_class AS c ON c.oid = p.relation AND c.relpersistence = 'u'
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    UNION ALL
    SELECT
        w.id,
        'error',
        'sending',
        'the webhook has no secret: it came with a dump, which holds none',
        pg_catalog.format(
            'Nothing is sent before %1$s.webhook_rotate_secret makes one or %1$s.webhook_update gives it one.', f.name
        )
    FROM owned AS w
    CROSS JOIN f
    JOIN webhook.lacking AS l ON l.webhook = w.id AND l.secret
    UNION ALL
    SELECT
        w.id,
        'error',
        'sending',
        pg_catalog.format('what is in header %s is lost: a dump does not hold it', pg_catalog.array_to_string(l.headers, ', ')),
        pg_catalog.format(
            'Nothing is sent before %1$s.webhook_update(.., set_headers => ..) says it again, or unset_headers => .. that it is not sent.',
            f.name
        )
    FROM owned AS w
    CROSS JOIN f
    JOIN webhook.lacking AS l ON l.webhook = w.id AND l.headers <> '{}'
    UNION ALL
    -- one that watches a table is among those above
    SELECT
        w.id,
        'error',
        'capture',
        'the role that the webhook belonged to is gone',
        pg_catalog.format('SELECT %s.webhook_delete(%L::text)', f.name, w.uuid)
    FROM owned AS w
    CROSS JOIN f
    WHERE w.role IS NULL AND NOT EXISTS (SELECT FROM seen AS v WHERE v.webhook = w.id)
    UNION ALL
    SELECT
        w.id,
        'warning',
        'capture',
        pg_catalog.format('role %s has several webhooks of the name %L', w.role::regrole, w.name),
        pg_catalog.format(
            'The uuid %s says which one is meant. %s.webhook_update with owner gives one of them away.', w.uuid, f.name
        )
    FROM owned AS w
    CROSS JOIN f
    WHERE EXISTS (SELECT FROM owned AS o WHERE o.role = w.role AND o.name = w.name AND o.id <> w.id)
    UNION ALL
    SELECT
        w.id,
        'error',
        'capture',
        'the webhook watches no table and hears no type of events',
        pg_catalog.format(
            '%1$s.webhook_watch has it watch a table, and %1$s.webhook_update(.., events => ..) hear types of emitted events.'
            ' What %1$s.webhook_invoke gives it is sent.',
            f.name
        )
    FROM owned AS w
    CROSS JOIN f
    WHERE w.role IS NOT NULL AND w.event_types = '{}' AND NOT EXISTS (SELECT FROM seen AS v WHERE v.webhook = w.id)
) AS o;
COMMENT ON VIEW webhook.problem IS 'private: what is wrong with what webhooks have been told to do, each with what there is to be done about it';

-- Told for a week, in which somebody should have looked.
CREATE VIEW webhook.reached_bound AS
SELECT
    h.webhook,
    'warning' AS severity,
    pg_catalog.format(
        'a bound has been reached: %s events have become dead letters so far, and %s dead letters have ended; the last at %s: %s',
        h.shed, h.expired, pg_catalog.date_trunc('second', h.bound_at), h.bound
    ) AS problem,
    pg_catalog.format(
        '%1$s.webhook_replay_all sends dead letters again. How much may wait, and for how long dead letters are kept, is up to'
        ' max_backlog, max_backlog_bytes, max_backlog_age and dead_letter_retention, of %1$s.webhook_update or of the server.',
        f.name
    ) AS hint
FROM webhook.health AS h
CROSS JOIN webhook.function_schema AS f
WHERE h.bound_at > pg_catalog.now() - interval '7 days';
COMMENT ON VIEW webhook.reached_bound IS 'private: webhooks of which more than they may have has waited';

-- Those that could not be dropped while they or their table were in use, those that wait for the worker to drop them, and
-- those that came with a dump of another database.
CREATE VIEW webhook.leftover AS
SELECT
    c.relowner AS owner,
    'warning' AS severity,
    pg_catalog.format('trigger %I on %I.%I belongs to no webhook, and does nothing', t.name, n.nspname, c.relname) AS problem,
    pg_catalog.format('DROP TRIGGER %I ON %I.%I', t.name, n.nspname, c.relname) || CASE
        WHEN EXISTS (
            SELECT
            FROM webhook.doomed AS d
            WHERE d.watch::text = t.watch
        )
        THEN ''
        ELSE ' ends it. Where it came with a dump and its webhook did not, a superuser restores that with pg_restore --schema=webhook.'
    END AS hint
FROM webhook.capture_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.parent = 0
  AND NOT EXISTS (
      SELECT
      FROM webhook.watched_trigger AS s
      WHERE s.watch::text = t.watch
        AND s.type = t.type
        AND (s.name::name = t.name OR s.trigger IS NULL)
        -- that of a table which inherits from the watched one may be a copy
        AND s.relation IN (
            WITH RECURSIVE up (relation) AS (
                SELECT t.relation
                UNION
                SELECT i.inhparent FROM up JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = up.relation
            )
            SELECT up.relation FROM up
        )
  )
UNION ALL
SELECT
    y.typowner,
    'warning',
    pg_catalog.format('domain %I.%I belongs to no webhook, and does nothing', n.nspname, y.typname),
    pg_catalog.format('DROP DOMAIN %I.%I', n.nspname, y.typname)
FROM pg_catalog.pg_type AS y
JOIN pg_catalog.pg_namespace AS n ON n.oid = y.typnamespace
WHERE n.nspname = 'webhook'
  AND y.typtype = 'd'
  AND NOT EXISTS (SELECT FROM webhook.owner_role AS r WHERE r.type = y.oid)
  AND NOT EXISTS (
      SELECT FROM webhook.owned AS w
      WHERE w.anchor = y.typname::text AND w.role = y.typowner AND w.deleted_at IS NULL
  );
COMMENT ON VIEW webhook.leftover IS 'private: triggers and domains of ours that no webhook has';

-- A dump without privileges brings levels without what comes with them; so does DROP OWNED.
CREATE VIEW webhook.level_problem AS
SELECT
    r.oid AS role,
    'warning' AS severity,
    CASE
        WHEN r.oid IS NULL THEN pg_catalog.format('role %I, which is %s in the dump, is not there', l.name, l.level)
        ELSE pg_catalog.format('role %I is %s without the privileges that come with it', r.rolname, l.level)
    END AS problem,
    CASE
        WHEN r.oid IS NULL THEN pg_catalog.format(
            'Make the role, and then SELECT %1$s.webhook_grant(%2$L::regrole, %3$L::text). %1$s.webhook_arm forgets its level.',
            f.name, pg_catalog.quote_ident(l.name), l.level
        )
        ELSE pg_catalog.format(
            'SELECT %1$s.webhook_grant(%2$L::regrole, %3$L::text) gives them again. %1$s.webhook_revoke ends the level.',
            f.name, pg_catalog.quote_ident(r.rolname), l.level
        )
    END AS hint
FROM webhook.level AS l
CROSS JOIN webhook.function_schema AS f
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = l.role
WHERE l.role = 0
   OR r.oid IS NOT NULL AND NOT EXISTS (SELECT FROM webhook.held_level AS h WHERE h.id = l.id);
COMMENT ON VIEW webhook.level_problem IS 'private: levels of roles that have nothing of what comes with them';
