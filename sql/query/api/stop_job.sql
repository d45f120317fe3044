-- Job $1 is to do no more, unless it has ended or somebody else has stopped it: role $2 says so.
INSERT INTO webhook.stopped (job, role)
SELECT j.id, $2 FROM webhook.work AS j WHERE j.id = $1
ON CONFLICT DO NOTHING
