UPDATE webhook.cursor SET
    snap = pg_current_snapshot(), at = now(), runs = 0, suspect = NULL, accused = '{}'
