-- What an installed extension must do, preloaded or not: a committed change becomes an event, which waits for its receiver.
-- Its name never resolves, so that nothing leaves the machine.
SET client_min_messages = error;
CREATE EXTENSION pg_webhook;
RESET client_min_messages;
SELECT extversion = :'version' AS this_version FROM pg_extension WHERE extname = 'pg_webhook';

CREATE TABLE orders (id int PRIMARY KEY, customer text);
SELECT name, url, secret LIKE 'whsec\_%' AS secret
FROM webhook_create(name => 'new-orders', url => 'https://receiver.invalid/orders', table_name => 'orders');
INSERT INTO orders VALUES (1, 'Ada');
BEGIN;
INSERT INTO orders VALUES (2, 'Grace');
ROLLBACK;
SELECT event_type, payload_json ->> 'table' AS "table", payload_json -> 'record' AS record,
    status IN ('pending', 'retrying') AS waiting
FROM webhook.deliveries;

-- Where the server has the library preloaded, a worker has come by itself and tries.
DO $$
BEGIN
    FOR tenths IN 1 .. 600 LOOP
        EXIT WHEN current_setting('shared_preload_libraries') !~ '\mpg_webhook\M'
            OR EXISTS (SELECT FROM webhook.deliveries WHERE status = 'retrying');
        PERFORM pg_sleep(0.1);
    END LOOP;
END
$$;
SELECT (current_setting('shared_preload_libraries') ~ '\mpg_webhook\M') = (status = 'retrying') AS attempted_where_preloaded
FROM webhook.deliveries;

SELECT webhook_delete('new-orders');
DROP EXTENSION pg_webhook;
SELECT count(*) AS triggers_left FROM pg_trigger WHERE tgrelid = 'orders'::regclass;
