-- What a trigger of function $5 on relation $2 is for, when it fires for operation $3 with a WHEN of the hash $4 (NULL for
-- none), where it has the watch $1 as its argument and is otherwise as pg_webhook makes the triggers of a watched table:
-- that is for the caller to see. No row where the watch is of another table, does not know the operation or had another
-- condition when its trigger was made: see source.sql.
SELECT
    w.id AS webhook,
    w.owner,
    v.payload_columns IS NOT NULL AS chosen,
    v.columns,
    r.columns AS numbers,
    (
        SELECT (string_to_array(x.indkey::text, ' ')::smallint[])[:x.indnkeyatts]
        FROM pg_index AS x
        WHERE x.indrelid = $2 AND x.indisprimary
    ) AS key
FROM webhook.watch AS v
JOIN webhook.webhook AS w ON w.uuid = v.webhook
LEFT JOIN webhook.watch_trigger AS r ON r.watch = v.id AND r.operation = $3
WHERE v.id = $1
  AND v.relation = $2
  AND $3 = ANY (v.events)
  AND $5 = 'webhook.capture()'::regprocedure
  AND (
      r.watch IS NULL
      OR r.condition IS NOT DISTINCT FROM $4
      OR NOT EXISTS (SELECT FROM webhook.home AS h WHERE h.is_database)
  )
