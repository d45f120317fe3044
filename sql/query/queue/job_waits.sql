-- Job $1 waits because of $2.
UPDATE webhook.job AS j SET error = $2 WHERE j.id = $1
