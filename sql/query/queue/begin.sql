-- Begins a run of the worker in the server that started at $1.
UPDATE webhook.cursor AS c SET
    server_start = $1,
    runs = CASE WHEN c.server_start = $1 THEN c.runs + 1 ELSE 1 END,
    suspect = NULL,
    accused = CASE WHEN c.server_start = $1 THEN array_remove(c.accused || c.suspect, NULL) ELSE '{}' END
FROM (SELECT suspect FROM webhook.cursor FOR UPDATE) AS before
RETURNING
    c.snap::text,
    c.runs,
    before.suspect,
    cardinality(array_positions(c.accused, before.suspect)),
    -- what the run before has left of its clock
    c.at,
    c.step
