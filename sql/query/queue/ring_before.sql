-- The events and attempts of transactions before $1. Not to be deleted by DELETE: they have no key by which a publication of
-- all tables could tell a subscriber.
SELECT e.tableoid, e.ctid, e.xid FROM webhook.event AS e WHERE e.xid < $1
UNION ALL
SELECT a.tableoid, a.ctid, a.xid FROM webhook.attempt AS a WHERE a.xid < $1
