-- Job $1 has ended: what it has looked for may be what was to be forgotten.
DELETE FROM webhook.job_path AS p WHERE p.job = $1
