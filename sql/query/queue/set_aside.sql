-- Job $1 goes on later with its webhook at position $3 of step $2, behind transaction $4 and id $5.
INSERT INTO webhook.job_aside (job, step, position, place_xid, place) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (job, step, position) DO UPDATE SET place_xid = excluded.place_xid, place = excluded.place
