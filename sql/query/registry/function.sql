-- The function of all our triggers.
SELECT 'webhook.capture()'::regprocedure::oid AS function
