-- The clock has been set by $1 microseconds.
UPDATE webhook.cursor SET step = step + $1, at = now()
