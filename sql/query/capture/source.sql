-- What a trigger is for whose table is not watched itself, but is a part of one that is: trigger $3 of relation $2, which fires for
-- operation $6 by the name $4 with a WHEN of the hash $5 (NULL for none), and has the watch $1 as its argument. Always one row: the
-- relations that the answer depends on, and NULLs where the trigger is not one that pg_webhook has made, or has become another. In
-- a copy of another database trees are written differently, and their hashes do not count.
WITH RECURSIVE up (relation, distance) AS (
    SELECT $2, 0
    UNION
    SELECT i.inhparent, up.distance + 1
    FROM up
    JOIN pg_inherits AS i ON i.inhrelid = up.relation
), fired AS (
    SELECT t.oid, t.tgname, t.tgparentid
    FROM pg_trigger AS t
    WHERE t.oid = $3
      AND t.tgrelid = $2
      AND t.tgname = $4::name
      AND sha256(convert_to(t.tgqual::text, 'UTF8')) IS NOT DISTINCT FROM $5
), root AS (
    -- of a partition's trigger: that of the table which was registered
    SELECT f.oid, f.tgparentid AS parent FROM fired AS f
    UNION ALL
    SELECT t.oid, t.tgparentid
    FROM root
    JOIN pg_trigger AS t ON t.oid = root.parent
), made AS (
    SELECT
        v.id AS watch,
        w.id AS webhook,
        w.owner,
        v.relation,
        v.columns,
        v.payload_columns,
        r.columns AS numbers,
        f.tgparentid = 0 AS is_child
    FROM fired AS f
    JOIN webhook.watched_trigger AS s ON s.watch = $1 AND s.operation = $6 AND s.name::name = f.tgname
    JOIN webhook.watch AS v ON v.id = s.watch
    JOIN webhook.webhook AS w ON w.uuid = v.webhook
    LEFT JOIN webhook.watch_trigger AS r ON r.watch = s.watch AND r.operation = s.operation
    WHERE s.ours
      AND (
          s.unchanged
          OR NOT EXISTS (SELECT FROM webhook.home AS h WHERE h.is_database)
      )
      AND v.relation <> $2
      AND v.relation IN (SELECT relation FROM up)
      AND CASE
          WHEN f.tgparentid <> 0 THEN s.trigger = (SELECT root.oid FROM root WHERE root.parent = 0)
          -- An inheritance child has a copy, which says the same in other numbers.
          ELSE (
              SELECT count(DISTINCT substr(d.definition, length(d.head) + 1)) = 1
                  AND bool_and(starts_with(d.definition, d.head))
              FROM (
                  SELECT
                      pg_get_triggerdef(t.oid) AS definition,
                      format('CREATE TRIGGER %I AFTER %s ON %I.%I ', t.tgname, $6, n.nspname, c.relname) AS head
                  FROM pg_trigger AS t
                  JOIN pg_class AS c ON c.oid = t.tgrelid
                  JOIN pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE t.oid IN (f.oid, s.trigger)
              ) AS d
          )
      END
      -- A table that became a partition while the same webhook watched both speaks for itself.
      AND NOT EXISTS (
          SELECT
          FROM webhook.watch AS nearer
          JOIN up ON up.relation = nearer.relation
          WHERE nearer.webhook = v.webhook
            AND $6 = ANY (nearer.events)
            AND up.distance < (SELECT min(up.distance) FROM up WHERE up.relation = v.relation)
      )
)
SELECT
    (SELECT array_agg(DISTINCT relation) FROM up) AS relations,
    made.webhook,
    (
        SELECT array_agg(a.attnum ORDER BY k.position)
        FROM pg_index AS x
        CROSS JOIN unnest((string_to_array(x.indkey::text, ' ')::smallint[])[:x.indnkeyatts])
            WITH ORDINALITY AS k (number, position)
        JOIN pg_attribute AS p ON p.attrelid = x.indrelid AND p.attnum = k.number
        JOIN pg_attribute AS a ON a.attrelid = $2 AND a.attname = p.attname
        WHERE x.indrelid = CASE WHEN made.is_child THEN made.relation ELSE $2 END AND x.indisprimary
    ) AS key,
    -- what of a child is the registered table's
    CASE WHEN made.is_child THEN (
        SELECT coalesce(array_agg(a.attnum ORDER BY p.attnum), '{}')
        FROM pg_attribute AS p
        JOIN pg_attribute AS a ON a.attrelid = $2 AND a.attname = p.attname
        WHERE p.attrelid = made.relation AND p.attnum > 0 AND NOT p.attisdropped AND p.attgenerated <> 'v'
    ) END AS inherited,
    -- what an UPDATE must change
    CASE WHEN made.columns IS NOT NULL AND $6 = 'UPDATE' THEN (
        SELECT coalesce(array_agg(a.attnum), '{}')
        FROM pg_attribute AS p
        JOIN pg_attribute AS a ON a.attrelid = $2 AND a.attname = p.attname
        WHERE p.attrelid = made.relation
          AND p.attnum > 0
          AND NOT p.attisdropped
          AND CASE
              WHEN made.numbers IS NOT NULL THEN p.attnum = ANY (made.numbers)
              ELSE p.attname::text = ANY (made.columns)
          END
    ) END AS columns,
    -- whether columns have been chosen, what says whose it is, and the table that was registered
    coalesce(made.payload_columns IS NOT NULL, false) AS chosen,
    made.owner,
    made.relation
FROM (VALUES (0)) AS one
LEFT JOIN made ON true
