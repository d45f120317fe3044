-- Not a part of the installation: each script that updates the extension ends with it.
--
-- Roles have once more what comes with their levels: it has gone with functions that were dropped.
SELECT webhook.updated(
    pg_catalog.string_to_array(pg_catalog.current_setting('updating.levels'), ',')::pg_catalog.regrole[]
);
