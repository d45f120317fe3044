-- Closes delivery $1, whose event transaction $2 wrote, if it is in the backlog, unless it is closed. A dead letter is not finished: it
-- waits for somebody.
INSERT INTO webhook.closed AS k (delivery, xid, how, settled)
SELECT d.id, d.xid, 'cancelled', false
FROM webhook.waiting AS d
WHERE d.id = $1
  AND d.xid = $2::text::xid8
  AND d.status IN ('pending', 'retrying', 'held', 'dead')
  AND d.event_type <> 'TEST'
-- nor is one finished that is to be sent again and has not been yet
ON CONFLICT (delivery, xid) DO UPDATE SET how = 'cancelled' WHERE k.how = 'rearmed'
