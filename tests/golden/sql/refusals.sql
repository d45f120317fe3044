-- Everything that is refused: SQLSTATE, message, detail and hint, and nothing half done.
CREATE EXTENSION pg_webhook;
CREATE FUNCTION refusal(statement text) RETURNS TABLE (what text, says text) LANGUAGE plpgsql AS $$
DECLARE
    state text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN QUERY SELECT 'accepted', statement;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN QUERY SELECT * FROM (VALUES
        (state, message), ('detail', detail), ('hint', hint)
    ) AS v (a, b) WHERE b <> '';
END
$$;
CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric, doc json);
CREATE VIEW a_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW a_materialized_view AS SELECT * FROM orders;
CREATE TEMP TABLE a_temporary_table (id int);
CREATE SEQUENCE a_sequence;
\pset format unaligned
\pset tuples_only on

-- names
SELECT * FROM refusal($$ SELECT webhook_create(NULL, 'http://127.0.0.1:9/') $$);
SELECT * FROM refusal($$ SELECT webhook_create('', 'http://127.0.0.1:9/') $$);
SELECT * FROM refusal($$ SELECT webhook_create(' padded', 'http://127.0.0.1:9/') $$);
SELECT * FROM refusal($$ SELECT webhook_create(E'two\nlines', 'http://127.0.0.1:9/') $$);
SELECT * FROM refusal($$ SELECT webhook_create(repeat('x', 201), 'http://127.0.0.1:9/') $$);
SELECT * FROM refusal($$ SELECT webhook_create('f81d4fae-7dec-11d0-a765-00a0c91e6bf6', 'http://127.0.0.1:9/') $$);
SELECT name FROM webhook_create('taken', 'http://127.0.0.1:9/');
SELECT * FROM refusal($$ SELECT webhook_create('taken', 'http://127.0.0.1:9/') $$);
SELECT name FROM webhook_create('other', 'http://127.0.0.1:9/');
SELECT * FROM refusal($$ SELECT webhook_update('other', name => 'taken') $$);

-- URLs
SELECT * FROM refusal($$ SELECT webhook_create('hook', NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'no url at all') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'example.com/path') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'ftp://example.com/') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'https://user:pw@example.com/') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'https://example.com/#part') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'https://example.com:99999/') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'https://10.0.0.1/') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'https://169.254.169.254/') $$);
SELECT * FROM refusal($$ SELECT webhook_update('other', url => 'https://192.168.0.1/') $$);

-- tables
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'nothing') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'a_view') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'a_materialized_view') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'a_temporary_table') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'a_sequence') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders_pkey') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'pg_class') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'webhook.event') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 4294967295::oid::regclass) $$);

-- events, columns, conditions
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', events => '{INSERT}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', condition => 'true') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{UPSERT}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{INSERT,NULL}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', columns => '{nothing}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{INSERT}', columns => '{total}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', condition => 'NEW.total >') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', condition => 'NEW.total > 1, true') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', condition => 'true) EXECUTE FUNCTION f(); --') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', condition => 'NEW.nothing > 1') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', condition => 'total > 1') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{UPDATE}', condition => 'total > 1') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{DELETE}', condition => 'nothing > 1') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', condition => 'OLD.total > 1') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{DELETE}', condition => 'NEW.total > 1') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', condition => 'NEW.total') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{INSERT}', condition => 'NEW.id IN (SELECT 1)') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', 'orders', '{INSERT}', condition => 'no_such_function(NEW.id)') $$);

-- headers
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', headers => '["a"]') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', headers => '{"X-A": 1}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', headers => '{"X-A": "a\r\nHost: evil"}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', headers => '{"X-A": "a\nb"}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', headers => '{"X A": "a"}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', headers => '{"Host": "a"}') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', headers => '{"webhook-id": "a"}') $$);

-- secrets and signatures
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', secret => 'fifteen letters') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', secret => 'not base64, though long enough') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', secret => E'sixteen\nletters!', signature => 'sha256') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', format => 'trus') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', signature_header => 'webhook-id') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', transform => 'now()') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', events => '{a.b}', table_name => 'orders') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', signature => 'md5') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', format => NULL) $$);
SELECT name FROM webhook_create('plain', 'http://127.0.0.1:9/', secret => 'a secret of plain words', signature => 'sha256');
SELECT * FROM refusal($$ SELECT webhook_update('plain', signature => 'standard') $$);

-- numbers
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', timeout_seconds => -1) $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', timeout_seconds => 0) $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', timeout_seconds => 601) $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', timeout_seconds => NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', max_retries => -2) $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', retry_backoff_seconds => 0) $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', retry_for => '-1 s') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', retry_for => '1 year') $$);
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', max_concurrency => 0) $$);

-- webhooks and deliveries that are not there
SELECT * FROM refusal($$ SELECT webhook_update('nobody', enabled => false) $$);
SELECT * FROM refusal($$ SELECT webhook_update(NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_delete('nobody') $$);
SELECT * FROM refusal($$ SELECT webhook_delete(NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_pause('f81d4fae-7dec-11d0-a765-00a0c91e6bf6') $$);
SELECT * FROM refusal($$ SELECT webhook_resume('') $$);
SELECT * FROM refusal($$ SELECT webhook_test('nobody') $$);
SELECT * FROM refusal($$ SELECT webhook_replay(1) $$);
SELECT * FROM refusal($$ SELECT webhook_replay(NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_cancel(1) $$);
SELECT * FROM refusal($$ SELECT webhook_cancel(NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_replay_all('nobody') $$);
SELECT * FROM refusal($$ SELECT webhook_replay_all('taken', status => NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_replay_all('taken', status => 'pending') $$);
SELECT * FROM refusal($$ SELECT webhook_cancel_all('taken', status => 'delivered') $$);
SELECT * FROM refusal($$ SELECT webhook_wait(1) $$);
SELECT * FROM refusal($$ SELECT webhook_stop(NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_replay_all('taken', status => 'failed') $$);
SELECT * FROM refusal($$ SELECT webhook_watch('nobody', 'orders') $$);
SELECT * FROM refusal($$ SELECT webhook_watch('taken', NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_unwatch('taken', 'orders') $$);
SELECT webhook_watch('taken', 'orders');
SELECT * FROM refusal($$ SELECT webhook_watch('taken', 'orders') $$);
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE "part of part" PARTITION OF part DEFAULT;
SELECT webhook_watch('other', 'part');
SELECT * FROM refusal($$ SELECT webhook_watch('other', 'parts') $$);
SELECT * FROM refusal($$ SELECT webhook_watch('other', '"part of part"') $$);
SELECT webhook_unwatch('other', 'part');
DROP TABLE parts;
CREATE TABLE items (id int);
SELECT webhook_watch('taken', 'items');
SELECT * FROM refusal($$ SELECT webhook_update('taken', events => '{INSERT}') $$);
SELECT * FROM refusal($$ SELECT webhook_update('other', condition => 'true') $$);

-- migrations
SELECT * FROM refusal($$ SELECT webhook_create('hook', 'http://127.0.0.1:9/', if_exists => 'ignore') $$);
SELECT * FROM refusal($$ SELECT webhook_update('other', reset => '{retries}') $$);
SELECT * FROM refusal($$ SELECT webhook_update('other', reset => '{headers}', set_headers => '{"X-A": "a"}') $$);
SELECT * FROM refusal($$ SELECT webhook_update('other', headers => '{}', set_headers => '{"X-A": "a"}') $$);
SELECT * FROM refusal($$ SELECT webhook_update('taken', table_name => 'pg_class', events => '{INSERT}') $$);
SELECT * FROM refusal($$ SELECT webhook_rotate_secret('other', secret => 'fifteen letters') $$);
SELECT * FROM refusal($$ SELECT webhook_rotate_secret('plain', secret => 'a secret of plain words') $$);
SELECT * FROM refusal($$ SELECT webhook_apply('{"webhook": {}}') $$);
SELECT * FROM refusal($$ SELECT webhook_apply('{"webhooks": {"hook": {"url": "http://127.0.0.1:9/", "retries": 3}}}') $$);
SELECT * FROM refusal($$ SELECT webhook_apply('{"webhooks": {"hook": {"url": "http://127.0.0.1:9/", "secret": "whsec_x"}}}') $$);
SELECT * FROM refusal($$ SELECT webhook_apply('{"webhooks": {"hook": {"url": "http://127.0.0.1:9/", "secret": "app.secret"}}}') $$);
SELECT * FROM refusal($$ SELECT webhook_apply('{"webhooks": {"hook": {"url": "http://127.0.0.1:9/", "headers": {"X-A": null}}}}') $$);

-- levels
SELECT * FROM refusal($$ SELECT webhook_grant(NULL, 'admin') $$);
SELECT * FROM refusal($$ SELECT webhook_grant(current_user::regrole, NULL) $$);
SELECT * FROM refusal($$ SELECT webhook_grant(current_user::regrole, 'owner') $$);
SELECT * FROM refusal($$ SELECT webhook_grant('-', 'admin') $$);
SELECT * FROM refusal($$ SELECT webhook_revoke('pg_monitor', 'viewer') $$);

-- the trigger function is for our triggers only
SELECT * FROM refusal($$ SELECT webhook.capture() $$);
SELECT * FROM refusal($$ CREATE TRIGGER t BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION webhook.capture('1'); INSERT INTO items VALUES (1) $$);
SELECT * FROM refusal($$ CREATE TRIGGER t AFTER INSERT ON items EXECUTE FUNCTION webhook.capture('1'); INSERT INTO items VALUES (1) $$);
SELECT * FROM refusal($$ CREATE TRIGGER t AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION webhook.capture(); INSERT INTO items VALUES (1) $$);

-- nothing of all that has left a trace
SELECT name FROM webhook.webhooks ORDER BY name;
SELECT tgrelid::regclass, regexp_replace(tgname, '[0-9a-f-]{36}', 'uuid') FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure ORDER BY 1, 2;

-- settings are checked when they are set
ALTER SYSTEM SET pg_webhook.allowed_networks = '10.0.0.0/8, nonsense';

DROP EXTENSION pg_webhook;
DROP TABLE orders CASCADE;
DROP TABLE items;
DROP SEQUENCE a_sequence;
DROP FUNCTION refusal;

-- text that is not UTF-8 has no place in JSON
CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
\c latin1
-- From 18 on the context of an error has the line of the script.
\set SHOW_CONTEXT never
CREATE EXTENSION pg_webhook;
\set SHOW_CONTEXT errors
\c golden
DROP DATABASE latin1;
