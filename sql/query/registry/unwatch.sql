-- What belongs to it goes in so many words, here and elsewhere: in replica role foreign keys do nothing.
WITH watch_trigger AS (
    DELETE FROM webhook.watch_trigger WHERE watch = $1
), watch_payload AS (
    DELETE FROM webhook.watch_payload WHERE watch = $1
)
DELETE FROM webhook.watch WHERE id = $1
