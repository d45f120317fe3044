-- Until the transaction ends nothing comes into the backlog.
LOCK TABLE webhook.pending IN SHARE ROW EXCLUSIVE MODE
