-- With its webhook at position $3 of step $2 job $1 has come to the end.
DELETE FROM webhook.job_aside AS a WHERE a.job = $1 AND a.step = $2 AND a.position = $3
