-- Whether role $1 may see all webhooks: as the extension's owner, as an admin, or to monitor them.
SELECT EXISTS (
    SELECT
    FROM (SELECT a.role FROM webhook.administrator AS a UNION ALL SELECT m.role FROM webhook.monitor AS m) AS l
    WHERE pg_has_role($1, l.role, 'USAGE')
) AS sees_all
