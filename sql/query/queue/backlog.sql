-- The backlog's table.
SELECT 'webhook.pending'::regclass::oid AS relation
