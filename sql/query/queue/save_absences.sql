WITH forgotten AS (
    DELETE FROM webhook.absence AS a WHERE (a.began, a.ended) NOT IN (SELECT u.began, u.ended FROM unnest($1, $2) AS u (began, ended))
)
INSERT INTO webhook.absence (began, ended) SELECT u.began, u.ended FROM unnest($1, $2) AS u (began, ended)
ON CONFLICT (ended) DO UPDATE SET began = excluded.began
