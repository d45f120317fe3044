-- Where jobs go on later, each with one of its webhooks.
SELECT a.job, a.step, a.position, a.place_xid, a.place FROM webhook.job_aside AS a ORDER BY a.job, a.step, a.position
