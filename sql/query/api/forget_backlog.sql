-- Of transactions before $1.
WITH pending AS (
    DELETE FROM webhook.pending AS p WHERE p.xid < $1
)
DELETE FROM webhook.closed AS c WHERE c.xid < $1
