-- The roles that webhooks name among their emitters, or have named.
SELECT m.role FROM webhook.emitter AS m
