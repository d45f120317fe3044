-- Job $1 has ended.
DELETE FROM webhook.job_aside AS a WHERE a.job = $1
