-- What job $1 looks for in bodies.
SELECT webhook.put('job_path', p) FROM (SELECT $1 AS job, $2::jsonpath AS path) AS p
