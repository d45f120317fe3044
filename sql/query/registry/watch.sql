INSERT INTO webhook.watch (
    webhook, relation, schema_name, table_name, events, columns, condition, payload_columns
)
SELECT w.uuid, c.oid, n.nspname::text, c.relname::text, $3, $4, $5, $6
FROM webhook.webhook AS w
CROSS JOIN pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE w.id = $1 AND c.oid = $2
RETURNING id
