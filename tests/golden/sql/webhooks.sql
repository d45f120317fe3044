-- Registering, changing and removing webhooks. Nothing is sent: the port is that of nobody.
CREATE EXTENSION pg_webhook;
CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric, doc json);
CREATE TABLE "Odd ""name""" ("Some column" int);

SELECT name, url, enabled, secret ~ '^whsec_[A-Za-z0-9+/]{43}=$' AS generated
FROM webhook_create('first', 'http://127.0.0.1:9/hook', 'orders');

SELECT * FROM webhook_create(
    name => 'second', url => 'http://127.0.0.1:9/other', table_name => 'orders',
    events => '{update,DELETE}', columns => '{total,doc}', condition => 'OLD.total > 100 -- large',
    headers => '{"Authorization": "Bearer x", "X-Trace": "1"}', secret => 'a secret of plain words',
    description => 'large orders', enabled => false, signature => 'sha256', max_retries => 3,
    timeout_seconds => 10, retry_backoff_seconds => 2, retry_for => '14 days', max_concurrency => 4
) \gset
SELECT :'name' AS name, :'url' AS url, :'secret' AS secret, :'enabled' AS enabled;

SELECT name, url, enabled FROM webhook_create('third', 'http://127.0.0.1:9/');

\x
SELECT name, url, description, enabled, tables, signature, headers, max_retries, timeout_seconds,
       retry_backoff_seconds, retry_for, max_concurrency, owner, health, fail_count, pending
FROM webhook.webhooks ORDER BY name;
\x
CREATE VIEW triggers AS
SELECT replace(pg_get_triggerdef(t.oid), v.id::text, 'uuid-of-' || w.name) AS definition
FROM pg_trigger AS t
JOIN webhook.watch AS v ON v.relation = t.tgrelid AND t.tgname LIKE '%' || v.id || '%'
JOIN webhook.webhook AS w ON w.uuid = v.webhook;
SELECT definition FROM triggers ORDER BY definition COLLATE "C";
SELECT count(*) FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND deptype = 'x';

-- Changing: what is left out stays, an empty value clears.
SELECT webhook_update('second', description => '', enabled => true, max_retries => -1, headers => '{}');
SELECT webhook_update('second', columns => '{}', condition => '');
SELECT webhook_update('first', name => 'renamed', events => '{INSERT}', condition => 'NEW.total > 1');
SELECT webhook_update('third', table_name => '"Odd ""name"""', columns => '{"Some column"}');
SELECT name, description, enabled, headers, max_retries, tables, updated_at > created_at AS updated
FROM webhook.webhooks ORDER BY name;
SELECT definition FROM triggers ORDER BY definition COLLATE "C";

-- By uuid as well as by name.
SELECT webhook_pause(id::text) FROM webhook.webhooks WHERE name = 'third';
SELECT webhook_pause(upper(id::text)) FROM webhook.webhooks WHERE name = 'second';
SELECT name, health FROM webhook.webhooks ORDER BY name;
SELECT webhook_resume('third');

-- More tables.
CREATE TABLE items (id int);
SELECT webhook_watch('third', 'items', '{INSERT}', condition => 'NEW.id > 0');
SELECT jsonb_pretty(tables) FROM webhook.webhooks WHERE name = 'third';
SELECT webhook_unwatch('third', 'items');
SELECT jsonb_pretty(tables) FROM webhook.webhooks WHERE name = 'third';

-- A ROLLBACK undoes everything.
BEGIN;
SELECT name FROM webhook_create('undone', 'http://127.0.0.1:9/', 'items');
SELECT webhook_delete('renamed');
ROLLBACK;
SELECT name FROM webhook.webhooks ORDER BY name;

-- Removing leaves no trigger; the name is free again.
SELECT webhook_delete('second');
SELECT webhook_delete('renamed');
SELECT definition FROM triggers ORDER BY definition COLLATE "C";
SELECT count(*) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure;
SELECT name FROM webhook_create('second', 'http://127.0.0.1:9/');

-- Triggers go with the extension, also those of partitions, and without CASCADE.
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
SELECT webhook_watch('second', 'parts');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'parts_1'::regclass;
DROP VIEW triggers;
DROP EXTENSION pg_webhook;
SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal;
DROP TABLE orders, "Odd ""name""", items, parts;
