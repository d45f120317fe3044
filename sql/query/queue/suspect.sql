-- Delivery $1 is about to be sent, alone; NULL: it is back.
UPDATE webhook.cursor SET suspect = $1
