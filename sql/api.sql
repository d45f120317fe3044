-- The functions that users call. They are C functions that act with the extension owner's rights only
-- where they touch its tables, after checking the caller's. Those that take a condition have the caller
-- create its triggers, under its own settings, so they set no search_path here and pin it themselves.

CREATE FUNCTION webhook_create(
    name text,
    url text,
    table_name regclass DEFAULT NULL,
    events text[] DEFAULT NULL,
    columns text[] DEFAULT NULL,
    condition text DEFAULT NULL,
    payload_columns text[] DEFAULT NULL,
    transform regprocedure DEFAULT NULL,
    headers jsonb DEFAULT NULL,
    secret text DEFAULT NULL,
    description text DEFAULT NULL,
    enabled boolean DEFAULT true,
    format text DEFAULT 'default',
    signature text DEFAULT NULL,
    signature_header text DEFAULT NULL,
    max_retries integer DEFAULT NULL,
    timeout_seconds integer DEFAULT 30,
    retry_backoff_seconds integer DEFAULT 5,
    retry_for interval DEFAULT '3 days',
    max_concurrency integer DEFAULT 10,
    rate_limit integer DEFAULT NULL,
    on_transform_error text DEFAULT 'dead',
    emitters regrole[] DEFAULT NULL,
    max_backlog integer DEFAULT NULL,
    max_backlog_bytes bigint DEFAULT NULL,
    max_backlog_age interval DEFAULT NULL,
    dead_letter_retention interval DEFAULT NULL,
    disable_after interval DEFAULT NULL,
    batch_size integer DEFAULT 1,
    batch_bytes integer DEFAULT 1048576,
    batch_wait interval DEFAULT NULL,
    batch_format text DEFAULT 'array',
    ordering text DEFAULT 'none',
    order_key text[] DEFAULT NULL,
    on_failure text DEFAULT 'hold',
    if_exists text DEFAULT 'error'
) RETURNS TABLE (
    id uuid, name text, url text, secret text, enabled boolean, created_at timestamptz, action text
)
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_create_wrapper';
COMMENT ON FUNCTION webhook_create IS
$$registers a webhook and installs the row triggers it needs. The secret is shown here and never again.
  events: any of INSERT, UPDATE, DELETE (all three where left out) and TRUNCATE, and types of emitted events (invoice.*).
  payload_columns: what is sent of a row. transform: a function (jsonb) of jsonb, named as in 'shape(jsonb)', that makes the
  body, or NULL for no event, which nothing counts; on_transform_error: dead, where the event is a dead letter if that
  fails, or fail, where the statement fails.
  emitters: roles whose events it hears beside those of its owner and of members of it.
  format: default, truss, fluxbase, trst, trulayer, hasura, supabase, standard or cloudevents; it brings its signature:
  standard, sha256, hex, timestamped or none. columns: UPDATE counts only where one of them changes.
  condition: an SQL expression over OLD and NEW; where it fails, the statement does, and the error names no webhook.
  max_retries: attempts after the first, no limit where null or -1. max_concurrency: requests at once. rate_limit:
  requests that start in any second, no limit where null or 0.
  max_backlog, max_backlog_bytes, max_backlog_age: how many events may wait, how many bytes of bodies, and for how long;
  beyond these the oldest become dead letters. dead_letter_retention: how long those are kept. Where null, and in
  webhook_update where 0, it is what the server's settings of these names say.
  disable_after: the webhook is paused when it has failed for so long without a success; never where null, or 0.
  batch_size, batch_bytes: events in one request, and bytes of their bodies, at most. batch_wait: how long an event waits for
  others; what is there goes where null, or 0. batch_format: array, or ndjson, where a line is an event. See docs/batches.md.
  ordering: none, key, where of events with the same key one is sent after the other, or webhook, where all have one key.
  order_key: the columns that are the key, the primary key where null. on_failure: what becomes of those behind one whose
  retries are used up: block, it is tried for ever, hold, they wait for somebody, or skip. See docs/order.md.
  if_exists: what becomes of a webhook of this name that the caller has: error, skip, where it is returned as it is, or
  replace, where it becomes what it would be if it were made now, but for its id, its log, what waits, and its secret unless
  one is given. action: created, unchanged or replaced. The secret is null unless it is created.
Example: SELECT * FROM webhook_create('new-orders', 'https://example.com/hook', 'orders', '{INSERT}', condition => 'NEW.total > 100')$$;

CREATE FUNCTION webhook_update(
    webhook text,
    name text DEFAULT NULL,
    url text DEFAULT NULL,
    table_name regclass DEFAULT NULL,
    events text[] DEFAULT NULL,
    columns text[] DEFAULT NULL,
    condition text DEFAULT NULL,
    payload_columns text[] DEFAULT NULL,
    transform regprocedure DEFAULT NULL,
    headers jsonb DEFAULT NULL,
    secret text DEFAULT NULL,
    description text DEFAULT NULL,
    enabled boolean DEFAULT NULL,
    format text DEFAULT NULL,
    signature text DEFAULT NULL,
    signature_header text DEFAULT NULL,
    max_retries integer DEFAULT NULL,
    timeout_seconds integer DEFAULT NULL,
    retry_backoff_seconds integer DEFAULT NULL,
    retry_for interval DEFAULT NULL,
    max_concurrency integer DEFAULT NULL,
    rate_limit integer DEFAULT NULL,
    on_transform_error text DEFAULT NULL,
    emitters regrole[] DEFAULT NULL,
    owner regrole DEFAULT NULL,
    max_backlog integer DEFAULT NULL,
    max_backlog_bytes bigint DEFAULT NULL,
    max_backlog_age interval DEFAULT NULL,
    dead_letter_retention interval DEFAULT NULL,
    disable_after interval DEFAULT NULL,
    batch_size integer DEFAULT NULL,
    batch_bytes integer DEFAULT NULL,
    batch_wait interval DEFAULT NULL,
    batch_format text DEFAULT NULL,
    ordering text DEFAULT NULL,
    order_key text[] DEFAULT NULL,
    on_failure text DEFAULT NULL,
    set_headers jsonb DEFAULT NULL,
    unset_headers text[] DEFAULT NULL,
    reset text[] DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_update_wrapper';
COMMENT ON FUNCTION webhook_update IS
$$changes settings of a webhook, named by its name or uuid; an argument left out stays as it is. A format given without a
  signature brings its own.
  An empty description, condition, columns, payload_columns, headers, emitters or signature_header clears it, transform => '-' too; max_retries => -1 and
  rate_limit => 0 remove the limit. owner gives the webhook to another role, by whoever has the rights of both.
  table_name: which of several tables events, columns, condition and payload_columns are about; the one that is watched
  instead of the only one. set_headers, unset_headers: single headers, while the others stay. reset: names of settings that
  go back to their defaults, events and columns among them; a name and a secret have none.
Example: SELECT webhook_update('new-orders', url => 'https://example.com/other', reset => '{timeout_seconds,headers}')$$;

CREATE FUNCTION webhook_watch(
    webhook text,
    table_name regclass,
    events text[] DEFAULT NULL,
    columns text[] DEFAULT NULL,
    condition text DEFAULT NULL,
    payload_columns text[] DEFAULT NULL,
    if_exists text DEFAULT 'error'
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_watch_wrapper';
COMMENT ON FUNCTION webhook_watch IS
$$watches one more table, with its own events, columns, condition and payload_columns.
  if_exists: what becomes of a table that it watches already: error, skip, where it is watched as it is, or replace, where
  it is watched as it would be if that began now.
Example: SELECT webhook_watch('new-orders', 'order_items', '{INSERT,DELETE}')$$;

CREATE FUNCTION webhook_unwatch(webhook text, table_name regclass, missing_ok boolean DEFAULT false) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_unwatch_wrapper';
COMMENT ON FUNCTION webhook_unwatch IS
$$stops watching a table; events that were captured are still sent. missing_ok: no error where it is not watched, as after
  the first run of a migration; nor where table_name is null, as to_regclass has one that is gone.
Example: SELECT webhook_unwatch('new-orders', 'order_items')$$;

CREATE FUNCTION webhook_delete(webhook text, missing_ok boolean DEFAULT false) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_delete_wrapper';
COMMENT ON FUNCTION webhook_delete IS
$$removes a webhook with its triggers. What has not been delivered is cancelled and stays in the log. missing_ok: no error
  where there is none of that name, as after the first run of a migration.
Example: SELECT webhook_delete('new-orders')$$;

CREATE FUNCTION webhook_apply(config jsonb, prune boolean DEFAULT false, dry_run boolean DEFAULT false)
    RETURNS TABLE (name text, action text, changes jsonb)
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_apply_wrapper';
COMMENT ON FUNCTION webhook_apply IS
$$brings the caller's webhooks to what a configuration says, as webhook_export returns it: {"webhooks": {name: {..}}}, with the
  arguments of webhook_create, and tables, by their names, with those of webhook_watch. What is left out has its default. One row for
  each: action is created, updated, unchanged or deleted, and changes what becomes another, from and to. prune: deletes those
  that the configuration does not have, if webhook_apply has made them. dry_run: changes and locks nothing.
  Secrets are not in it: secret, and the values of headers, are names of settings of the session that hold them. Where none is named, a
  new webhook gets a secret, and a header keeps its value (null).
Example: SELECT * FROM webhook_apply(webhook_export(), dry_run => true)$$;

CREATE FUNCTION webhook_export() RETURNS jsonb
    LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_export_wrapper';
COMMENT ON FUNCTION webhook_export IS
$$the caller's webhooks as a configuration, without secrets and without what has its default. webhook_apply of it changes
  nothing.
Example: SELECT jsonb_pretty(webhook_export())$$;

CREATE FUNCTION webhook_pause(webhook text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_pause_wrapper';
COMMENT ON FUNCTION webhook_pause IS
$$stops sending. Events are captured and kept until webhook_resume, as far as max_backlog and its like let them wait.
Example: SELECT webhook_pause('new-orders')$$;

CREATE FUNCTION webhook_resume(webhook text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_resume_wrapper';
COMMENT ON FUNCTION webhook_resume IS
$$sends again, what was kept first.
Example: SELECT webhook_resume('new-orders')$$;

CREATE FUNCTION webhook_test(webhook text, payload jsonb DEFAULT NULL)
    RETURNS TABLE (status_code integer, response_body text, latency_ms numeric, error text)
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_test_wrapper';
COMMENT ON FUNCTION webhook_test IS
$$sends a TEST event now, also where the webhook is paused or disabled, and returns the answer: status_code 0 where there
  was none, the first 4 KiB of the body. payload becomes its record. The transaction waits for it.
Example: SELECT * FROM webhook_test('new-orders', '{"hello": "world"}')$$;

CREATE FUNCTION webhook_replay(delivery_id bigint) RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_replay_wrapper';
COMMENT ON FUNCTION webhook_replay IS
$$sends the same body once more, under the same event id, as a new delivery; returns its id. A dead delivery stays so
  in webhook.deliveries, and is in webhook.dead_letters no more. One whose transform has failed is transformed first:
  null where the transform drops it, an error where it fails again.
Example: SELECT webhook_replay(id) FROM webhook.deliveries WHERE status = 'dead'$$;

CREATE FUNCTION webhook_rotate_secret(
    webhook text, overlap interval DEFAULT '24 hours', secret text DEFAULT NULL
) RETURNS text
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_rotate_secret_wrapper';
COMMENT ON FUNCTION webhook_rotate_secret IS
$$makes a new secret, or takes the one that is given, and returns it, this once. Until the overlap ends requests are signed with
  the one before as well, and with those before it until theirs end, 10 in all; in schemes that have room for one signature
  (sha256, hex), with the oldest of them. With overlap 0 the new one signs alone.
Example: SELECT webhook_rotate_secret('new-orders', '3 days')$$;

CREATE FUNCTION webhook_emit(event_type text, data jsonb, key text DEFAULT NULL) RETURNS integer
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_emit_wrapper';
COMMENT ON FUNCTION webhook_emit IS
$$an event of the application, in this transaction: goes to the webhooks whose events name its type or match it with a *,
  as far as they belong to the caller or to a role that it is a member of, or name it among their emitters.
  Returns how many events that makes, which is none where a webhook is disabled or its transform returns NULL; a notice says so
  where there is none that could hear it.
Example: SELECT webhook_emit('order.shipped', '{"order": 42}')$$;

CREATE FUNCTION webhook_invoke(webhook text, "row" record) RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_invoke_wrapper';
COMMENT ON FUNCTION webhook_invoke IS
$$a MANUAL event with the given row, of a table or of any SELECT; returns the delivery's id, null where the
  webhook is disabled or its transform drops it.
Example: SELECT webhook_invoke('new-orders', o) FROM orders AS o WHERE id = 42$$;

CREATE FUNCTION webhook_sign(
    payload text,
    secret text,
    signature text DEFAULT 'standard',
    id text DEFAULT NULL,
    sent_at timestamptz DEFAULT pg_catalog.now()
) RETURNS text
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_sign_wrapper';
COMMENT ON FUNCTION webhook_sign IS
$$the signature of a payload, as the header of this scheme carries it; signature standard needs the id, null for none.
Example: SELECT webhook_sign('{"a": 1}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', id => 'evt_1')$$;

CREATE FUNCTION webhook_verify(
    payload text,
    headers jsonb,
    secret text,
    tolerance interval DEFAULT '5 minutes',
    signature text DEFAULT NULL
) RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_verify_wrapper';
COMMENT ON FUNCTION webhook_verify(text, jsonb, text, interval, text) IS
$$whether the headers of a request hold a good signature of its body; where it is dated, not older than the tolerance, of
  any age where that is null. signature: the scheme that counts, any where left out; name it for timestamped, because
  whoever has recorded a request could send it again as one of a scheme without a date. Compares in constant time.
  A literal is given as headers => '{..}' or '{..}'::jsonb: without name and type it is a text, and so one signature.
Example: SELECT webhook_verify(body, headers, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', signature => 'standard') FROM inbox$$;

CREATE FUNCTION webhook_verify(payload text, signature text, secret text, tolerance interval DEFAULT '5 minutes')
    RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_verify_signature_wrapper';
COMMENT ON FUNCTION webhook_verify(text, text, text, interval) IS
$$whether the signature, the value of one header and of a scheme other than standard, is good for the payload. All
  headers of a request are jsonb; a text that is a JSON object is an error.
Example: SELECT webhook_verify('{"a": 1}', 'sha256=00', 'a secret of 16 or more')$$;

CREATE FUNCTION webhook_preview(
    webhook text,
    op text,
    new_row jsonb DEFAULT NULL,
    old_row jsonb DEFAULT NULL,
    table_name regclass DEFAULT NULL
) RETURNS TABLE (method text, url text, headers jsonb, body text, signature text, reason text)
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_preview_wrapper';
COMMENT ON FUNCTION webhook_preview IS
$$the request that a change would cause, or the reason why it would cause none; sends nothing. op: INSERT, UPDATE, DELETE,
  TRUNCATE, MANUAL, TEST, or the type of an emitted event with its data as new_row. table_name: where the webhook watches
  several. Header values that a user set are shown as ***.
Example: SELECT * FROM webhook_preview('new-orders', 'INSERT', '{"id": 1, "total": 200}')$$;

CREATE FUNCTION webhook_why(
    webhook text,
    op text,
    new_row jsonb DEFAULT NULL,
    old_row jsonb DEFAULT NULL,
    table_name regclass DEFAULT NULL
) RETURNS TABLE (step text, verdict text, problem text, hint text)
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_why_wrapper';
COMMENT ON FUNCTION webhook_why IS
$$why a change would not arrive, or has not: one row for each thing that is in the way, in the order in which an event meets
  them, and what to do about it. The first row is what stops it; of this session's settings, too. Arguments as those of
  webhook_preview. verdict: no event, the statement fails, dead letter, waits, tried again; not known where what it calls
  cannot be tried; sent where nothing is in the way. A key of a row that is no column of the table is an error.
Example: SELECT * FROM webhook_why('new-orders', 'INSERT', '{"id": 1, "total": 200}')$$;

CREATE FUNCTION webhook_check(webhook text DEFAULT NULL)
    RETURNS TABLE (webhook text, severity text, problem text, hint text)
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_check_wrapper';
COMMENT ON FUNCTION webhook_check IS
$$what is wrong with a webhook, or with all that the caller may see, and what to do about it; without a name, what concerns all of the
  database. Severity error: events are not captured, or not sent; warning: they may not be; notice: somebody wants it so. Triggers and
  domains without a webhook, which do nothing, are shown to admins and to the owner of the table or domain. docs/troubleshooting.md has
  a section for each problem.
Example: SELECT * FROM webhook_check('new-orders')$$;

CREATE FUNCTION webhook_log(
    webhook text DEFAULT NULL,
    status text DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    before bigint DEFAULT NULL,
    lim integer DEFAULT 50,
    event_id text DEFAULT NULL
)
    RETURNS TABLE (
        id bigint,
        webhook_id uuid,
        webhook text,
        event_id text,
        event_type text,
        schema_name text,
        table_name text,
        payload text,
        payload_json json,
        status text,
        attempts integer,
        status_code smallint,
        response_body text,
        latency_ms numeric,
        error_class text,
        error text,
        created_at timestamptz,
        next_attempt_at timestamptz,
        delivered_at timestamptz
    )
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_log_wrapper';
COMMENT ON FUNCTION webhook_log IS
$$rows of webhook.deliveries, the newest first, fast at any size of the log: of one webhook that is there, or of all that the
  caller may see, deleted ones among them; with one status or any. since and until (which is not included) go by ids, which are the
  microseconds since 2020: within seconds of created_at, but for what came from elsewhere, got another id, or was made while
  a clock was behind. before: the id of the last row of the page before. lim: up to 1000 rows. event_id: what the receiver has as
  webhook-id; the delivery that it was made for, and not those that repeat it (webhook_replay) or came from elsewhere with it.
Example: SELECT * FROM webhook_log('new-orders', status => 'dead', since => now() - interval '1 day')$$;

CREATE FUNCTION webhook_stats_reset(webhook text DEFAULT NULL) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_stats_reset_wrapper';
COMMENT ON FUNCTION webhook_stats_reset IS
$$has webhook.metrics, and what webhook.stats has from there, begin from nothing: of a webhook, or of all that the caller
  manages. What the worker has counted in the last second can come after it.
Example: SELECT webhook_stats_reset('new-orders')$$;

CREATE FUNCTION webhook_arm(keep boolean DEFAULT false, new boolean DEFAULT false) RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_arm_wrapper';
COMMENT ON FUNCTION webhook_arm IS
$$lets webhooks send that came with a dump or a copy of another database: until then they are "unarmed", and what they
  capture waits. Forgets the events and the log that came with the copy. False where nothing was unarmed.
  keep: the original is gone. Nothing is forgotten, and what waits goes on under its ids.
  new: the database is a copy of a whole server, which cannot be told from the original: it is an installation of its own
  from now on. Forgets what came along: where pg_webhook.server has not told since when, all that there is.
  Triggers, columns and roles that a dump has brought count from then on by what they are, not by their names. Webhooks that
  belong to another role than in the dump run no transform and no cast until webhook_update with owner confirms it.
Example: SELECT webhook_arm()$$;

CREATE FUNCTION webhook_stop() RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_stop_wrapper';
COMMENT ON FUNCTION webhook_stop IS
$$stops sending from this database, as pg_webhook.enabled = off does from all of the server: what is under way has a second to
  be answered, and what is captured waits, until webhook_start, over restarts and failovers. False where it was stopped already.
Example: SELECT webhook_stop()$$;

CREATE FUNCTION webhook_start() RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_start_wrapper';
COMMENT ON FUNCTION webhook_start IS
$$ends what webhook_stop has begun: what has waited is sent. False where it was not stopped.
Example: SELECT webhook_start()$$;

CREATE FUNCTION webhook_replay_all(
    webhook text DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    status text DEFAULT 'dead'
) RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_replay_all_wrapper';
COMMENT ON FUNCTION webhook_replay_all IS
$$does what webhook_replay does for all deliveries of a webhook, or of all that the caller manages, that are here at the call:
  those that were made at or after since and before until, by their ids as in webhook_log, and are dead, delivered or
  cancelled, as status says. A job that the worker does after the commit; returns its number, as webhook_cancel_all does.
  Left out are dead letters that have been replayed or cancelled, tests, and what a transform has failed for. It pauses
  while half of what may wait of a webhook does, so that nothing becomes dead by it.
Example: SELECT webhook_replay_all('new-orders', since => now() - interval '1 day')$$;

CREATE FUNCTION webhook_cancel(delivery_id bigint) RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_cancel_wrapper';
COMMENT ON FUNCTION webhook_cancel IS
$$cancels a delivery that has not been delivered, dead letters included: no request for it starts after the commit. One that is under way
  then ends as it does, and if the receiver takes it, the delivery counts as delivered. False where it was finished
  or cancelled already, or replayed when it was dead.
Example: SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status = 'retrying'$$;

CREATE FUNCTION webhook_cancel_all(
    webhook text DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    status text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_cancel_all_wrapper';
COMMENT ON FUNCTION webhook_cancel_all IS
$$does what webhook_cancel does for all deliveries of a webhook, or of all that the caller manages, that are here at the call:
  those that were made at or after since and before until, by their ids as in webhook_log, and are pending, retrying or
  dead, or have that one of these as status. A job that the worker does after the commit, from which on none of them is
  sent; returns its number. webhook.jobs shows how far it is, webhook_wait waits for it, webhook_cancel_job ends it.
Example: SELECT webhook_cancel_all('new-orders', until => now() - interval '1 hour')$$;

CREATE FUNCTION webhook_erase(
    webhook text,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    path jsonpath DEFAULT NULL
) RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_erase_wrapper';
COMMENT ON FUNCTION webhook_erase IS
$$removes the payloads and answers of deliveries of a webhook, or where that is null of all that the caller manages, deleted
  ones among them, that are here at the call: those that were made at or after since and before until, by their ids as in
  webhook_log, and whose payload path finds something in that is neither false nor null. What of it waits is cancelled. A job
  that the worker does after the commit; returns its number, as webhook_cancel_all does. The bytes stay in the files until
  VACUUM and new rows have used their place, and in backups and the write-ahead log.
Example: SELECT webhook_erase('new-orders', path => '$.record.email ? (@ == "ada@example.com")')$$;

CREATE FUNCTION webhook_wait(job bigint) RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_wait_wrapper';
COMMENT ON FUNCTION webhook_wait IS
$$waits for the end of a job that an earlier transaction has asked for, and returns for how many deliveries it has done
  something; statement_timeout limits the wait. An error where it has failed, and where no worker can come to it.
Example: SELECT webhook_wait(max(id)) FROM webhook.jobs$$;

CREATE FUNCTION webhook_cancel_job(job bigint) RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_cancel_job_wrapper';
COMMENT ON FUNCTION webhook_cancel_job IS
$$ends a job before its end, after the commit: what it has done stays done, and nothing more is. False where it has ended
  already, or somebody has stopped it.
Example: SELECT webhook_cancel_job(id) FROM webhook.jobs WHERE state = 'running'$$;

CREATE FUNCTION webhook_grant(role regrole, level text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_grant_wrapper';
COMMENT ON FUNCTION webhook_grant IS
$$makes a role a viewer, which reads the views; a monitor, which reads them for all webhooks, but neither bodies nor
  answers; a member, which makes and manages webhooks of its own; or an admin, which manages all of them and the levels of
  roles. A role has one level: it has this one now, whatever it had before.
Example: SELECT webhook_grant('app', 'member')$$;

CREATE FUNCTION webhook_revoke(role regrole, level text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_revoke_wrapper';
COMMENT ON FUNCTION webhook_revoke IS
$$takes a role's level and all rights that came with it. Its webhooks stay, and send.
Example: SELECT webhook_revoke('app', 'member')$$;

-- Its rows go to disk where they are many, which those of a function in C would not. What it reads is made later.
SET LOCAL check_function_bodies = off;
CREATE FUNCTION webhook_backlog_export()
    RETURNS TABLE (
        webhook uuid,
        id bigint,
        transaction xid8,
        event_id text,
        event_type text,
        schema_name text,
        table_name text,
        payload text,
        failure text,
        created_at timestamptz,
        next_attempt_at timestamptz,
        first_attempt_at timestamptz,
        attempts integer,
        status_code smallint,
        duration_us bigint,
        error text,
        response_body text,
        keys bigint[]
    )
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS 'SELECT u.* FROM webhook.unfinished AS u ORDER BY u.id';
COMMENT ON FUNCTION webhook_backlog_export IS
$$what has not been delivered: events that wait and dead letters (next_attempt_at is null), of all webhooks, with their ids
  and bodies, for webhook_backlog_import in another database. What is under way at this moment is among them.
Example: SELECT webhook, id, next_attempt_at, payload FROM webhook_backlog_export()$$;
SET LOCAL check_function_bodies = on;

CREATE FUNCTION webhook_backlog_import("row" record) RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_backlog_import_wrapper';
COMMENT ON FUNCTION webhook_backlog_import IS
$$takes over a row of webhook_backlog_export: what waits is sent from here, under the ids that it has. False where it is here
  already, or has ended here. Its webhook must be here, under the same uuid.
Example: SELECT webhook_backlog_import(m), count(*) FROM moving AS m GROUP BY 1$$;

-- Read from the catalog, so that nothing is said twice. No line is longer than 76 characters: with what psql puts around them they
-- stay within 80.
CREATE FUNCTION webhook_help(function text DEFAULT NULL) RETURNS SETOF text
    -- its text is parsed when it is called
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS $$
    WITH ours AS (
        SELECT
            p.oid,
            p.proname::text AS name,
            row_number() OVER (ORDER BY p.proname, p.oid) AS number,
            regexp_replace(split_part(d.text, E'\nExample: ', 1), '\s+', ' ', 'g') AS prose,
            split_part(d.text, E'\nExample: ', 2) AS example
        FROM pg_extension AS e
        JOIN pg_depend AS k
            ON k.refclassid = 'pg_extension'::regclass AND k.refobjid = e.oid AND k.deptype = 'e' AND k.classid = 'pg_proc'::regclass
        JOIN pg_proc AS p ON p.oid = k.objid AND p.pronamespace = e.extnamespace
        CROSS JOIN LATERAL (SELECT obj_description(p.oid, 'pg_proc') AS text) AS d
        WHERE e.extname = 'pg_webhook'
    ), chosen AS (
        SELECT o.* FROM ours AS o WHERE o.name IN (webhook_help.function, 'webhook_' || webhook_help.function)
    ), argument AS (
        SELECT
            o.number,
            a.position,
            a.mode,
            a.name,
            format_type(a.type, NULL) AS type,
            pg_get_function_arg_default(o.oid, a.position::integer) AS initial,
            max(length(a.name)) OVER (PARTITION BY o.number) AS width
        FROM chosen AS o
        JOIN pg_proc AS p ON p.oid = o.oid
        CROSS JOIN LATERAL ROWS FROM (
            unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])), unnest(p.proargnames), unnest(p.proargmodes)
        ) WITH ORDINALITY AS a (type, name, mode, position)
    ), part (number, place, indent, text) AS (
        SELECT o.number, 1, 0, o.name || CASE WHEN p.pronargs = 0 THEN '()' ELSE '(' END
        FROM chosen AS o JOIN pg_proc AS p ON p.oid = o.oid
        UNION ALL
        SELECT
            a.number, 2 + a.position, 4,
            rtrim(rpad(a.name, a.width) || '  ' || a.type || coalesce('  DEFAULT ' || regexp_replace(a.initial, '::[a-z ]+(\[\])?$', ''), ''))
        FROM argument AS a
        WHERE a.mode IS DISTINCT FROM 't' AND a.name IS NOT NULL
        UNION ALL
        SELECT
            o.number, 1000, 0,
            CASE WHEN p.pronargs = 0 THEN '' ELSE ') ' END || 'returns '
                || CASE WHEN p.proretset THEN 'rows' || CASE WHEN p.proargmodes IS NULL THEN ' of ' || format_type(p.prorettype, NULL) ELSE ' of' END
                   ELSE format_type(p.prorettype, NULL) END
        FROM chosen AS o JOIN pg_proc AS p ON p.oid = o.oid
        UNION ALL
        SELECT a.number, 1000 + a.position, 4, rpad(a.name, a.width) || '  ' || a.type FROM argument AS a WHERE a.mode = 't'
        UNION ALL
        SELECT o.number, 3000, 0, '' FROM chosen AS o
        UNION ALL
        -- what is said of an argument in a line of its own
        SELECT o.number, 4000 + s.position, 0, s.text
        FROM chosen AS o
        CROSS JOIN LATERAL regexp_split_to_table(o.prose, '(?<=[.;]) (?=[a-z_]+(?:, [a-z_]+)*: )') WITH ORDINALITY AS s (text, position)
        UNION ALL
        SELECT o.number, 5000, 0, '' FROM chosen AS o
        UNION ALL
        SELECT o.number, 6000, 0, o.example || ';' FROM chosen AS o
        UNION ALL
        SELECT o.number, 7000, 0, '' FROM chosen AS o
        UNION ALL
        -- all of them, each with its first sentence
        SELECT o.number, 1, 0, o.name FROM ours AS o WHERE webhook_help.function IS NULL
        UNION ALL
        SELECT o.number, 2, 4, substring(o.prose FROM '^(?:[^.(]|\([^)]*\)|\.[^ ])+') || '.'
        FROM ours AS o
        WHERE webhook_help.function IS NULL
        UNION ALL
        SELECT 1000000, 1, 0, format(m.text, e.extnamespace::regnamespace)
        FROM pg_extension AS e
        JOIN (
            VALUES
                (webhook_help.function IS NULL, 'SELECT %s.webhook_help(''create'') says more of one of them.'),
                (
                    webhook_help.function IS NOT NULL AND NOT EXISTS (SELECT FROM chosen),
                    'There is no function of that name. SELECT %s.webhook_help() lists them.'
                )
        ) AS m (told, text) ON m.told
        WHERE e.extname = 'pg_webhook'
    )
    SELECT repeat(' ', p.indent) || coalesce(l.line, '')
    FROM part AS p
    LEFT JOIN LATERAL string_to_table(
        -- at the end of a word, or of an argument of an example, and where one is longer, after it
        rtrim(regexp_replace(p.text, CASE p.place WHEN 6000 THEN '(.{1,71},) ' ELSE '(.{1,' || 76 - p.indent || '})(?: |$)' END, E'\\1\n', 'g'), E'\n'),
        E'\n'
    ) WITH ORDINALITY AS l (line, position) ON true
    ORDER BY p.number, p.place, l.position
$$;
COMMENT ON FUNCTION webhook_help IS
$$the manual: all functions, each with a sentence, or all about one of them, with or without webhook_ before its name: its arguments
  with their defaults, what it returns, what its comment says, and an example.
Example: SELECT webhook_help('create')$$;

CREATE FUNCTION webhook.worker_status()
    RETURNS TABLE (state text, pid integer, started_at timestamptz, threads integer, in_flight integer, last_error text)
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_worker_status_wrapper';
COMMENT ON FUNCTION webhook.worker_status IS 'private: the rows of webhook.worker';

CREATE FUNCTION webhook.workers_status()
    RETURNS TABLE (database oid, pid integer, state text, since timestamptz, next_due timestamptz, last_error text)
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_workers_status_wrapper';
COMMENT ON FUNCTION webhook.workers_status IS 'private: the rows of webhook.workers';

CREATE FUNCTION webhook.obstacles() RETURNS TABLE (kind text, detail text, since timestamptz)
    LANGUAGE c ROWS 2 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_obstacles_wrapper';
COMMENT ON FUNCTION webhook.obstacles IS
    'private: what keeps the database from sending that no table says, and the version of the library';

CREATE FUNCTION webhook.seen_by_reader() RETURNS TABLE (uuid uuid, name text, deleted boolean, with_contents boolean)
    LANGUAGE c STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_seen_by_reader_wrapper';
COMMENT ON FUNCTION webhook.seen_by_reader IS
    'private: the webhooks that the caller may see, as webhook.visible has them, planned once in a session: to plan that takes ten times as long as to run it';

CREATE FUNCTION webhook.told_to_reader()
    RETURNS TABLE (webhook integer, rank integer, disabled text, broken text, others text, failing text)
    LANGUAGE c STABLE ROWS 10 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_told_to_reader_wrapper';
COMMENT ON FUNCTION webhook.told_to_reader IS
    'private: the rows of webhook.told about webhooks that the caller may see, planned once in a session: to plan them takes ten times as long as to find them';

CREATE FUNCTION webhook.is_database(system_identifier bigint, database oid) RETURNS boolean
    LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_is_database_wrapper';
COMMENT ON FUNCTION webhook.is_database IS 'private: whether this is the database of that number, in the server of that number';

CREATE FUNCTION webhook.bounds() RETURNS double precision[]
    LANGUAGE c IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_bounds_wrapper';
COMMENT ON FUNCTION webhook.bounds IS 'private: where the buckets of counts end, in milliseconds';

CREATE FUNCTION webhook.percentile(counts bigint[], part double precision) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_percentile_wrapper';
COMMENT ON FUNCTION webhook.percentile IS 'private: what this part of what is counted in buckets does not exceed, in milliseconds';

CREATE FUNCTION webhook.next_id() RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_next_id_wrapper';
COMMENT ON FUNCTION webhook.next_id IS 'private: the id of a delivery that is to be written';

CREATE FUNCTION webhook.put("table" text, "row" record, but_for text DEFAULT NULL) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_put_wrapper';
COMMENT ON FUNCTION webhook.put IS 'private: writes a row, but for a column of that name, of which neither triggers nor logical decoding see anything';

CREATE FUNCTION webhook.install() RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_install_wrapper';
COMMENT ON FUNCTION webhook.install IS 'private: the last step of CREATE EXTENSION';

CREATE FUNCTION webhook.bar() RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_bar_wrapper';
COMMENT ON FUNCTION webhook.bar IS 'private: has others wait for the end of ALTER EXTENSION UPDATE';

CREATE FUNCTION webhook.updated(levels regrole[]) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_updated_wrapper';
COMMENT ON FUNCTION webhook.updated IS 'private: the last step of ALTER EXTENSION UPDATE';
