-- Until the transaction ends the ring does not turn.
LOCK TABLE webhook.event, webhook.attempt IN ROW EXCLUSIVE MODE
