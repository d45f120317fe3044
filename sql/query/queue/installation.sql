-- The installation, whether it is this database, and that of this server; and since which transaction.
SELECT h.id, h.is_here, h.since::text::bigint AS since, h.is_database FROM webhook.home AS h
