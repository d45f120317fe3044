-- The publications that carry our tables.
SELECT string_agg(quote_ident(p.name), ', ' ORDER BY p.name) AS names FROM webhook.publication AS p
