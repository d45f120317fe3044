-- The statements that lock slot $1 and that empty it.
SELECT
    format('LOCK TABLE webhook.%I, webhook.%I IN ACCESS EXCLUSIVE MODE', event, attempt),
    format('TRUNCATE webhook.%I, webhook.%I', event, attempt)
FROM (SELECT 'event_' || $1, 'attempt_' || $1) AS slot (event, attempt)
