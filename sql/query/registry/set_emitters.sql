-- Makes roles $2, of the names $3, the emitters of webhook $1. Returns those that were, as far as they are there.
WITH before AS (
    SELECT coalesce(array_agg(h.role), '{}') AS roles FROM webhook.heard AS h WHERE h.webhook = $1
), named AS (
    UPDATE webhook.webhook AS w SET emitters = $3 WHERE w.id = $1
), given (role, name) AS (
    SELECT * FROM unnest($2::oid[], $3::text[])
), forgotten AS (
    DELETE FROM webhook.emitter_role AS k WHERE k.webhook = $1 AND k.name NOT IN (SELECT given.name FROM given)
), recorded AS (
    INSERT INTO webhook.emitter_role (webhook, name, role)
    SELECT $1, given.name, given.role FROM given
    ON CONFLICT (webhook, name) DO UPDATE SET role = excluded.role
)
SELECT before.roles FROM before
