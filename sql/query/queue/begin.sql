-- Begins a run of the worker in the server that started at $1.
UPDATE webhook.cursor SET
    at = now(),
    server_start = $1,
    runs = CASE WHEN server_start = $1 THEN runs + 1 ELSE 1 END,
    suspicions = CASE WHEN server_start = $1 AND suspect IS NOT NULL THEN suspicions + 1 ELSE 0 END
RETURNING snap::text, runs, suspect, suspicions
