-- The functions that users call. They are C functions that act with the extension owner's rights only
-- where they touch its tables, after checking the caller's. Those that take a condition resolve names
-- in it as the caller would, so they set no search_path here and pin it themselves.

CREATE FUNCTION webhook_create(
    name text,
    url text,
    table_name regclass DEFAULT NULL,
    events text[] DEFAULT NULL,
    columns text[] DEFAULT NULL,
    condition text DEFAULT NULL,
    headers jsonb DEFAULT NULL,
    secret text DEFAULT NULL,
    description text DEFAULT NULL,
    enabled boolean DEFAULT true,
    signature text DEFAULT 'standard',
    max_retries integer DEFAULT NULL,
    timeout_seconds integer DEFAULT 30,
    retry_backoff_seconds integer DEFAULT 5,
    retry_for interval DEFAULT '3 days',
    max_concurrency integer DEFAULT 10,
    rate_limit integer DEFAULT NULL
) RETURNS TABLE (id uuid, name text, url text, secret text, enabled boolean, created_at timestamptz)
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_create_wrapper';
COMMENT ON FUNCTION webhook_create IS
$$registers a webhook and installs the row triggers it needs. The secret is shown here and never again.
  events: any of INSERT, UPDATE, DELETE; all where left out. columns: UPDATE counts only where one of them changes.
  condition: an SQL expression over OLD and NEW. max_retries: attempts after the first, no limit where null or -1.
  max_concurrency: requests at once. rate_limit: requests that start in any second, no limit where null or 0.
Example: SELECT * FROM webhook_create('new-orders', 'https://example.com/hook', 'orders', '{INSERT}', condition => 'NEW.total > 100')$$;

CREATE FUNCTION webhook_update(
    webhook text,
    name text DEFAULT NULL,
    url text DEFAULT NULL,
    table_name regclass DEFAULT NULL,
    events text[] DEFAULT NULL,
    columns text[] DEFAULT NULL,
    condition text DEFAULT NULL,
    headers jsonb DEFAULT NULL,
    secret text DEFAULT NULL,
    description text DEFAULT NULL,
    enabled boolean DEFAULT NULL,
    signature text DEFAULT NULL,
    max_retries integer DEFAULT NULL,
    timeout_seconds integer DEFAULT NULL,
    retry_backoff_seconds integer DEFAULT NULL,
    retry_for interval DEFAULT NULL,
    max_concurrency integer DEFAULT NULL,
    rate_limit integer DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_update_wrapper';
COMMENT ON FUNCTION webhook_update IS
$$changes settings of a webhook, named by its name or uuid; an argument left out stays as it is.
  An empty description, condition, columns or headers clears it; max_retries => -1 and
  rate_limit => 0 remove the limit.
Example: SELECT webhook_update('new-orders', url => 'https://example.com/other', timeout_seconds => 10)$$;

CREATE FUNCTION webhook_watch(
    webhook text,
    table_name regclass,
    events text[] DEFAULT NULL,
    columns text[] DEFAULT NULL,
    condition text DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_watch_wrapper';
COMMENT ON FUNCTION webhook_watch IS
$$watches one more table, with its own events, columns and condition.
Example: SELECT webhook_watch('new-orders', 'order_items', '{INSERT,DELETE}')$$;

CREATE FUNCTION webhook_unwatch(webhook text, table_name regclass) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_unwatch_wrapper';
COMMENT ON FUNCTION webhook_unwatch IS
$$stops watching a table; events that were captured are still sent.
Example: SELECT webhook_unwatch('new-orders', 'order_items')$$;

CREATE FUNCTION webhook_delete(webhook text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_delete_wrapper';
COMMENT ON FUNCTION webhook_delete IS
$$removes a webhook with its triggers. What has not been delivered is cancelled and stays in the log.
Example: SELECT webhook_delete('new-orders')$$;

CREATE FUNCTION webhook_pause(webhook text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_pause_wrapper';
COMMENT ON FUNCTION webhook_pause IS
$$stops sending. Events are captured and kept until webhook_resume.
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
  in webhook.deliveries, and is in webhook.dead_letters no more.
Example: SELECT webhook_replay(id) FROM webhook.deliveries WHERE status = 'dead'$$;

CREATE FUNCTION webhook_arm() RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_arm_wrapper';
COMMENT ON FUNCTION webhook_arm IS
$$lets a database send that is a copy of another one: until then its worker is "unarmed" and sends nothing. Forgets the
  events and the log that came with the copy. False where the database was armed already.
Example: SELECT webhook_arm()$$;

CREATE FUNCTION webhook_replay_all(
    webhook text,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    status text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_replay_all_wrapper';
COMMENT ON FUNCTION webhook_replay_all IS
$$does what webhook_replay does for all deliveries of a webhook that were made at or after since and before until, and
  have the given status: dead where left out. Returns how many. Dead letters that have been replayed or cancelled, and
  tests, are not among them.
Example: SELECT webhook_replay_all('new-orders', since => now() - interval '1 day')$$;

CREATE FUNCTION webhook_cancel(delivery_id bigint) RETURNS boolean
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_cancel_wrapper';
COMMENT ON FUNCTION webhook_cancel IS
$$gives a delivery up that waits, be it a dead letter: no request for it starts after the commit. One that is under way
  then ends as it does, and if the receiver takes it, the delivery counts as delivered. False where it was finished
  or cancelled already, or replayed when it was dead.
Example: SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status = 'retrying'$$;

CREATE FUNCTION webhook_grant(role regrole, level text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_grant_wrapper';
COMMENT ON FUNCTION webhook_grant IS
$$makes a role a viewer, which reads the views, a member, which makes and manages webhooks of its own, or an admin, which
  manages all of them and the levels of roles. A role has one level: it has this one now, whatever it had before.
Example: SELECT webhook_grant('app', 'member')$$;

CREATE FUNCTION webhook_revoke(role regrole, level text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_revoke_wrapper';
COMMENT ON FUNCTION webhook_revoke IS
$$takes a role's level and all rights that came with it. Its webhooks stay, and send.
Example: SELECT webhook_revoke('app', 'member')$$;

CREATE FUNCTION webhook.worker_status()
    RETURNS TABLE (state text, pid integer, started_at timestamptz, threads integer, in_flight integer, last_error text)
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_worker_status_wrapper';
COMMENT ON FUNCTION webhook.worker_status IS 'private: the rows of webhook.worker';

CREATE FUNCTION webhook.install() RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'webhook_install_wrapper';
COMMENT ON FUNCTION webhook.install IS 'private: the last step of CREATE EXTENSION';
