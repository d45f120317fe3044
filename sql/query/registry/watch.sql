INSERT INTO webhook.watch (webhook, relation, table_name, events, columns, condition, payload_columns)
VALUES ($1, $2::regclass, $3, $4, $5, $6, $7)
RETURNING id
