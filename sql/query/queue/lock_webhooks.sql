-- Until the transaction ends nobody else changes a webhook. Those that are deleted wait to be forgotten, with the slots of
-- the ring, by a transaction that has locked these before.
SELECT w.id FROM webhook.webhook AS w WHERE w.deleted_at IS NULL ORDER BY w.id FOR NO KEY UPDATE
