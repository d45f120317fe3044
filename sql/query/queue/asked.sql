-- How many jobs of role $1 have not ended.
SELECT count(*) AS count FROM webhook.work AS j WHERE j.role = $1
