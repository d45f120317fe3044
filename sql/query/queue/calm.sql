-- The run goes well, or has ended well.
UPDATE webhook.cursor SET runs = 0, suspect = NULL, accused = '{}'
