-- Webhook $1 sends these headers besides; where $3, also those that it has lost with a dump, but for $4.
UPDATE webhook.webhook AS w SET
    header_names = ARRAY(
        SELECT n.name
        FROM (
            SELECT unnest($2) AS name
            UNION ALL
            SELECT h.name
            FROM unnest(w.header_names) AS h (name)
            WHERE $3 AND lower(h.name) <> ALL (ARRAY(SELECT lower(g.name) FROM unnest($2 || $4) AS g (name)))
        ) AS n
        ORDER BY n.name COLLATE "C"
    )
WHERE w.id = $1
