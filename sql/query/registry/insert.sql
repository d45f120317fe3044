-- No row where the owner has a webhook of this name; whoever is making one is waited for.
-- Of role $9. Its key $8 does not come from the default, which would leave a trace in the session. Plain settings are written by
-- update.sql.
INSERT INTO webhook.webhook (
    id, name, url, format, signature, signature_header, event_types, owner, owner_name, installation
)
VALUES (
    $8, $1, $2, $3, $4, nullif($5, ''), $6, $7, pg_get_userbyid($9)::text, (SELECT i.id FROM webhook.installation AS i)
)
ON CONFLICT (name, owner) WHERE deleted_at IS NULL DO NOTHING
RETURNING id, uuid, created_at
