-- Role $1 stops the database; no row where somebody has.
INSERT INTO webhook.stop (role_name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING role_name
