-- A job of kind $1 for webhook $2, or for all that role $3 manages, where it erases deleted ones as well: deliveries with status $4, with ids from $5 to before $6, which
-- stand for the times $7 and $8. Returns its id.
INSERT INTO webhook.job (id, kind, webhook_id, webhooks, role, status, first, "end", since, until, seen, caller, place)
SELECT
    d.id, $1,
    (SELECT w.uuid FROM webhook.webhook AS w WHERE w.id = $2),
    CASE
        WHEN $2 IS NOT NULL THEN ARRAY[$2]
        ELSE ARRAY(
            SELECT w.id
            FROM webhook.owned AS w
            WHERE (w.deleted_at IS NULL OR $1 = 'erase') AND webhook.manages($3, w.role)
            ORDER BY w.id
        )
    END,
    $3, $4, $5, least($6, d.id), $7, $8, pg_current_snapshot(), pg_current_xact_id(), $5 - 1
FROM (SELECT webhook.next_id() AS id) AS d
RETURNING id
