-- Delivery $1 is about to be sent, alone; NULL: it is back.
UPDATE webhook.cursor SET
    suspicions = CASE WHEN suspect = $1 THEN suspicions ELSE 0 END,
    suspect = $1
