-- Begins a run of the worker in the server that started at $1. The one before counts, unless $2: it was ended because
-- another process had crashed.
UPDATE webhook.cursor AS c SET
    server_start = $1,
    runs = CASE WHEN c.server_start IS DISTINCT FROM $1 THEN 1 WHEN $2 THEN greatest(c.runs, 1) ELSE c.runs + 1 END,
    suspect = NULL,
    accused = CASE
        WHEN c.server_start IS DISTINCT FROM $1 THEN '{}' WHEN $2 THEN c.accused
        ELSE array_remove(c.accused || c.suspect, NULL)
    END
FROM (SELECT suspect FROM webhook.cursor FOR UPDATE) AS before
RETURNING
    c.snap::text AS snap,
    c.runs,
    CASE WHEN NOT $2 THEN before.suspect END AS suspect,
    cardinality(array_positions(c.accused, before.suspect)) AS suspicions,
    -- what the run before has left of its clock
    c.at,
    c.step
