INSERT INTO webhook.watch (webhook, relation, events, columns, condition, payload_columns)
VALUES ($1, $2::regclass, $3, $4, $5, $6)
