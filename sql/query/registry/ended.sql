-- What webhooks that have ended with their owners have left: the roles that they heard, and their anchors.
SELECT
    w.id,
    w.anchor,
    (SELECT coalesce(array_agg(k.role), '{}') FROM webhook.emitter_role AS k WHERE k.webhook = w.id) AS heard
FROM webhook.webhook AS w
WHERE w.deleted_at IS NOT NULL AND (w.emitters <> '{}' OR w.anchor IS NOT NULL)
