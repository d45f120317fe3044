-- The trigger function. It runs for every row of every writer, so it sets no search_path of its own:
-- it runs no SQL by name, except to fill its cache, and then pins the path itself. It inserts the
-- event as the owner of the ring would, so writers need no rights here.
CREATE FUNCTION webhook.capture() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_capture';
COMMENT ON FUNCTION webhook.capture() IS
    'private: writes the event of a changed row; does nothing in a trigger that pg_webhook has not made';
