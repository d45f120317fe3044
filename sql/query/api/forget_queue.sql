-- Events and attempts are those of the database that this one was copied from, which sends them.
TRUNCATE webhook.event, webhook.attempt, webhook.pending, webhook.closed
