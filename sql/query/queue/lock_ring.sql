-- Until the transaction ends the ring does not rotate.
LOCK TABLE webhook.event, webhook.attempt IN ROW EXCLUSIVE MODE
