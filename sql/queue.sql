-- The event ring, the backlog, the attempt log and the cursor. The rules that they keep are written
-- at the head of src/queue/mod.rs.

-- The mark of delivery ids: none that has been given is as large. Nobody calls nextval() on it; see
-- src/domain/ids.rs.
CREATE SEQUENCE webhook.delivery_id_seq AS bigint;
COMMENT ON SEQUENCE webhook.delivery_id_seq IS 'private: no delivery has an id as large as this';

-- Insert-only. A rotation empties a child when all in it is settled (src/queue/mod.rs), and older than the retention or the log is full.
CREATE TABLE webhook.event (
    xid         xid8 NOT NULL,
    id          bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    webhook     integer NOT NULL,
    slot        smallint NOT NULL,
    event_type  text NOT NULL,
    schema_name text,
    table_name  text,
    -- Set on a replay: the id under which the receiver knows the event.
    event_id    text,
    payload     text NOT NULL,
    -- Why the transform has made no body of it: it is a dead letter, and payload what there was before.
    failure     text,
    -- For delivery in order: hashes of what it is ordered by, two where an UPDATE has changed that; empty for one that is ordered with
    -- all of its webhook. NULL where it is in no order.
    keys        bigint[],
    -- Of the replay of one that a transform has made dead: whose place in the order it takes.
    replaces    bigint
) PARTITION BY LIST (slot);
COMMENT ON TABLE webhook.event IS 'private: one row per event and webhook, the exact body to send';

CREATE TABLE webhook.event_0 PARTITION OF webhook.event FOR VALUES IN (0);
CREATE TABLE webhook.event_1 PARTITION OF webhook.event FOR VALUES IN (1);
CREATE TABLE webhook.event_2 PARTITION OF webhook.event FOR VALUES IN (2);
CREATE TABLE webhook.event_3 PARTITION OF webhook.event FOR VALUES IN (3);
CREATE TABLE webhook.event_4 PARTITION OF webhook.event FOR VALUES IN (4);
CREATE TABLE webhook.event_5 PARTITION OF webhook.event FOR VALUES IN (5);
CREATE TABLE webhook.event_6 PARTITION OF webhook.event FOR VALUES IN (6);
CREATE TABLE webhook.event_7 PARTITION OF webhook.event FOR VALUES IN (7);
CREATE INDEX event_xid_id_idx ON webhook.event (xid, id);
-- What has an order is looked for among much that has none.
CREATE INDEX event_ordered_idx ON webhook.event (xid, id) WHERE keys IS NOT NULL;
ALTER TABLE webhook.event ALTER COLUMN payload SET STORAGE MAIN;

-- Only events that could not go out at once; with their payload, because the ring may rotate first.
-- next_at = 'infinity', which no claim asks for, is a dead letter, a cancelled delivery, or one that waits for others of its key.
CREATE TABLE webhook.pending (
    webhook          integer NOT NULL,
    -- its uuid, by which users ask
    webhook_id       uuid,
    next_at          timestamptz NOT NULL,
    id               bigint NOT NULL,
    xid              xid8 NOT NULL,
    created_at       timestamptz NOT NULL,
    first_attempt_at timestamptz,
    attempts         integer NOT NULL,
    -- For an index: 0 waits for its first attempt, 1 for another one, 2 is a dead letter, 3 has been cancelled, 4 is held: it waits
    -- behind an earlier one of its key.
    stage            smallint NOT NULL,
    -- how the last of them ended
    status_code      smallint,
    duration_us      bigint,
    error            text,
    error_class      text,
    response_body    text,
    event_type       text NOT NULL,
    schema_name      text,
    table_name       text,
    event_id         text,
    payload          text NOT NULL,
    -- as in webhook.event
    failure          text,
    -- where in the ring it was
    event_slot       smallint,
    -- as in webhook.event
    keys             bigint[],
    -- The transaction that has imported it; then xid is one of another database.
    imported         xid8,
    -- When it became a dead letter, or a job has cancelled it, by the clock that next_at goes by.
    dead_at          timestamptz,
    -- The batch that its last attempt was one of, as which it is sent again: see webhook.batch.
    batch            bigint,
    PRIMARY KEY (webhook, next_at, id)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE UNIQUE INDEX pending_id_key ON webhook.pending (id);
-- Lists, newest first: of a webhook, and of what is at one stage. All of plain columns, which rows are entered into faster.
CREATE INDEX pending_webhook_id_id_idx ON webhook.pending (webhook_id, id);
CREATE INDEX pending_webhook_id_stage_id_idx ON webhook.pending (webhook_id, stage, id);
CREATE INDEX pending_batch_idx ON webhook.pending (batch) WHERE batch IS NOT NULL;
ALTER TABLE webhook.pending ALTER COLUMN payload SET STORAGE MAIN;
COMMENT ON TABLE webhook.pending IS 'private: events that wait for a retry or for their endpoint, and dead letters';

-- The order in which events of webhooks with "ordering" go: a row for each key of an event, from when it is in webhook.pending until
-- it is finished. So of a key the first that is here may be sent, and the others are held. See src/queue/order.rs.
CREATE TABLE webhook.place (
    delivery bigint NOT NULL,
    -- of its key among those of the event
    number   smallint NOT NULL,
    webhook  integer NOT NULL,
    -- NULL: all keys of the webhook
    key      bigint,
    -- Drawn as the id of a delivery, when the worker has read it. NULL: it has been imported, and the worker has not come to it.
    position bigint,
    PRIMARY KEY (delivery, number)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX place_webhook_key_position_idx ON webhook.place (webhook, key, position);
CREATE INDEX place_webhook_position_idx ON webhook.place (webhook, position);
CREATE INDEX place_barrier_idx ON webhook.place (webhook, position) WHERE key IS NULL;
CREATE INDEX place_unplaced_idx ON webhook.place (delivery) WHERE position IS NULL;
COMMENT ON TABLE webhook.place IS 'private: in which order events go, of webhooks that have one';

CREATE VIEW webhook.behind AS
SELECT o.delivery
FROM webhook.place AS o
WHERE EXISTS (
        SELECT FROM webhook.place AS q
        WHERE q.webhook OPERATOR(pg_catalog.=) o.webhook
          AND q.key OPERATOR(pg_catalog.=) o.key
          AND q.position OPERATOR(pg_catalog.<) o.position
    )
   OR EXISTS (
        SELECT FROM webhook.place AS q
        WHERE q.webhook OPERATOR(pg_catalog.=) o.webhook AND q.key IS NULL AND q.position OPERATOR(pg_catalog.<) o.position
    )
   OR (
        o.key IS NULL
        AND EXISTS (
            SELECT FROM webhook.place AS q
            WHERE q.webhook OPERATOR(pg_catalog.=) o.webhook AND q.position OPERATOR(pg_catalog.<) o.position
        )
    );
COMMENT ON VIEW webhook.behind IS 'private: deliveries that have others before them in their order';

-- What is sent in one request, written down before it is: a request that is repeated, be it after a crash, is the same one. Its row
-- goes when it is over for all of its deliveries, or found not to be what it was, because one of them is not sent any more for
-- instance; the others are sent in a new one.
CREATE TABLE webhook.batch (
    -- by which the receiver knows it, as webhook-id
    id         bigint PRIMARY KEY,
    webhook    integer NOT NULL,
    -- how it is put together: it is sent again only as it was
    shape      text NOT NULL,
    deliveries bigint[] NOT NULL,
    -- of their events
    xids       xid8[] NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE webhook.batch IS 'private: what is sent in one request';

-- How many deliveries of a webhook are at a stage of the backlog is the sum of those that have come to it, less those that have left
-- it: to count the rows takes the longer the more there are. Whoever changes the backlog says here how, in the same statement.
-- Insert-only, so that nobody waits for another; the worker adds it up now and then.
CREATE TABLE webhook.movement (
    webhook integer NOT NULL,
    -- NULL: it was not there
    was     smallint,
    -- NULL: it is not there any more
    stage   smallint,
    count   bigint NOT NULL
) WITH (
    -- It grows and shrinks, and a standby's readers are in the way of a truncation.
    vacuum_truncate = off,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
-- It has no key, and rows are deleted, which a publication needs one for.
ALTER TABLE webhook.movement REPLICA IDENTITY FULL;
COMMENT ON TABLE webhook.movement IS 'private: what has come to the stages of webhook.pending, and left them';

-- Insert-only for users, so that none of their open transactions makes the worker wait.
CREATE TABLE webhook.closed (
    delivery  bigint NOT NULL,
    xid       xid8 NOT NULL,
    -- by the clock that webhook.pending goes by
    closed_at timestamptz NOT NULL,
    -- renewed: its id was that of another delivery, and it has been written once more under an id of its own. rearmed: a dead letter
    -- that is to be sent again, in its place in the order; the row goes when the worker has seen to that.
    how       text NOT NULL CHECK (how OPERATOR(pg_catalog.=) ANY (ARRAY['cancelled', 'replayed', 'renewed', 'rearmed'])),
    -- The worker has nothing to do with it any more.
    settled   boolean NOT NULL,
    PRIMARY KEY (delivery, xid)
);
CREATE INDEX closed_unsettled_idx ON webhook.closed (delivery) WHERE NOT settled;
CREATE INDEX closed_replayed_idx ON webhook.closed (delivery) WHERE how OPERATOR(pg_catalog.=) 'replayed';
COMMENT ON TABLE webhook.closed IS
    'private: deliveries that somebody has cancelled, dead letters that somebody has replayed, and events whose id was taken';

-- Insert-only, in the same ring: an attempt goes into the slot that is current when it is logged.
CREATE TABLE webhook.attempt (
    delivery      bigint NOT NULL,
    xid           xid8 NOT NULL,
    started_at    timestamptz NOT NULL,
    duration_us   bigint NOT NULL,
    attempt       integer NOT NULL,
    slot          smallint NOT NULL,
    status_code   smallint NOT NULL,
    -- uuid of the webhook, by which users ask
    webhook_id    uuid,
    -- delivered and dead end the delivery, retry does not. failed: a test that is not answered as it should be.
    verdict       text NOT NULL,
    error_class   text,
    error         text,
    response_body text,
    -- where in the ring the event is, or was
    event_slot    smallint,
    -- the batch that it was sent in, where webhooks send batches
    batch         bigint
) PARTITION BY LIST (slot);
COMMENT ON TABLE webhook.attempt IS 'private: one row per HTTP attempt';

CREATE TABLE webhook.attempt_0 PARTITION OF webhook.attempt FOR VALUES IN (0);
CREATE TABLE webhook.attempt_1 PARTITION OF webhook.attempt FOR VALUES IN (1);
CREATE TABLE webhook.attempt_2 PARTITION OF webhook.attempt FOR VALUES IN (2);
CREATE TABLE webhook.attempt_3 PARTITION OF webhook.attempt FOR VALUES IN (3);
CREATE TABLE webhook.attempt_4 PARTITION OF webhook.attempt FOR VALUES IN (4);
CREATE TABLE webhook.attempt_5 PARTITION OF webhook.attempt FOR VALUES IN (5);
CREATE TABLE webhook.attempt_6 PARTITION OF webhook.attempt FOR VALUES IN (6);
CREATE TABLE webhook.attempt_7 PARTITION OF webhook.attempt FOR VALUES IN (7);
-- Of what has ended, and of what has not been delivered: each attempt is in the first two or the last two, but for failed
-- tests. So what is newest is found however many retries are in front of it, and a failure however many deliveries. Those of
-- webhooks are of no use where no webhook is asked for: while a table is small the planner might take them for that, and keep to it.
CREATE INDEX attempt_ended_idx ON webhook.attempt (delivery)
    WHERE verdict OPERATOR(pg_catalog.=) ANY (ARRAY['delivered', 'failed']);
CREATE INDEX attempt_webhook_id_ended_idx ON webhook.attempt (webhook_id, delivery)
    WHERE verdict OPERATOR(pg_catalog.=) ANY (ARRAY['delivered', 'failed']) AND webhook_id IS NOT NULL;
CREATE INDEX attempt_undelivered_idx ON webhook.attempt (delivery)
    WHERE verdict OPERATOR(pg_catalog.<>) 'delivered';
CREATE INDEX attempt_webhook_id_undelivered_idx ON webhook.attempt (webhook_id, verdict, delivery)
    WHERE verdict OPERATOR(pg_catalog.<>) 'delivered' AND webhook_id IS NOT NULL;

-- Where the server can: lz4 takes a fifth of pglz's time on bodies of a few kilobytes.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_settings
               WHERE name OPERATOR(pg_catalog.=) 'default_toast_compression'
                 AND 'lz4' OPERATOR(pg_catalog.=) ANY (enumvals)) THEN
        ALTER TABLE webhook.event ALTER COLUMN payload SET COMPRESSION lz4;
        ALTER TABLE webhook.pending ALTER COLUMN payload SET COMPRESSION lz4;
    END IF;
END
$$;

-- One row: everything visible in snap is finished or in webhook.pending.
CREATE TABLE webhook.cursor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    snap            pg_snapshot NOT NULL,
    -- What the clock showed when the worker was last there: at most a second ago while it works, a minute while something
    -- waits.
    at              timestamptz NOT NULL,
    -- Runs of the worker since this start of the server that have not ended well.
    server_start    timestamptz,
    runs            integer NOT NULL DEFAULT 0,
    -- The delivery that is under way alone, and those that were when one of these runs ended.
    suspect         bigint,
    accused         bigint[] NOT NULL DEFAULT '{}',
    -- By how many microseconds the clock had been set by "at", with which it is written. The times of webhook.pending, webhook.absence
    -- and all that is forgotten after a time are by the clock as it was before: see src/domain/clock.rs.
    step            bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO webhook.cursor (snap, at) VALUES (pg_catalog.pg_current_snapshot(), pg_catalog.now());

CREATE FUNCTION webhook.queue_time() RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT now() - coalesce((SELECT k.step FROM webhook.cursor AS k), 0) * interval '1 microsecond'
$$;
COMMENT ON FUNCTION webhook.queue_time IS
    'private: when the transaction began, by the clock that webhook.pending goes by: see src/domain/clock.rs';
ALTER TABLE webhook.closed ALTER closed_at SET DEFAULT webhook.queue_time();
COMMENT ON TABLE webhook.cursor IS 'private: how far the worker is, at most a second old';

-- Few rows: see src/domain/timeline.rs.
CREATE TABLE webhook.absence (
    began timestamptz NOT NULL,
    ended timestamptz PRIMARY KEY
);
COMMENT ON TABLE webhook.absence IS
    'private: when there was no worker although something was due; that does not count for how long retries last';

-- At most one row: where the walk through webhook.pending is that no worker is at, because its database rests before the end
-- of it. See src/worker/walking.rs.
CREATE TABLE webhook.walk (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- It goes on behind this id.
    before         bigint NOT NULL,
    -- There has to be another one after it: what it has passed has changed.
    again          boolean NOT NULL,
    -- Before this no row that it has passed is too old; by the clock that webhook.pending goes by, as the next.
    soonest        timestamptz NOT NULL,
    at             timestamptz NOT NULL,
    -- With which settings.
    settings       timestamptz NOT NULL DEFAULT pg_catalog.pg_conf_load_time(),
    -- What it has counted of each.
    webhooks       integer[] NOT NULL,
    waiting_events bigint[] NOT NULL,
    waiting_bytes  bigint[] NOT NULL,
    dead_events    bigint[] NOT NULL,
    dead_bytes     bigint[] NOT NULL,
    left_events    bigint[] NOT NULL,
    -- As soonest, in microseconds since 2000.
    left_since     bigint[] NOT NULL
);
COMMENT ON TABLE webhook.walk IS 'private: how far it has been looked for what is beyond its bounds';

-- One row: the slot that events are written to.
CREATE TABLE webhook.ring (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    slot  smallint NOT NULL,
    -- by the clock that webhook.pending goes by
    since timestamptz NOT NULL,
    -- why it does not rotate although it is time, and since when; NULL where it does
    blocked    text,
    blocked_at timestamptz,
    -- the slots that hold events which have been delivered and are not in the log, so that lists look for them there
    unlogged   smallint[] NOT NULL DEFAULT '{}'
);
INSERT INTO webhook.ring (slot, since) VALUES (0, pg_catalog.now());
COMMENT ON TABLE webhook.ring IS 'private: the current slot of the ring';

-- One row: the database that this queue belongs to. In a copy it does not match, and nothing is sent. Not dumped: a
-- restored database is an installation of its own.
CREATE TABLE webhook.installation (
    singleton         boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id                text NOT NULL,
    system_identifier bigint NOT NULL,
    database          oid NOT NULL,
    -- pg_webhook.server
    server            text NOT NULL,
    -- the transaction that has written this
    since             xid8 NOT NULL
);
COMMENT ON TABLE webhook.installation IS 'private: the database that may send';

-- In a copy, the first transaction that wrote anything to be sent, or in which a worker began: what older ones wrote came with the
-- copy. A number below webhook.installation.since is that of an earlier copy. Where the server counts what nextval has logged it
-- holds the number of the database in which this was noted, so nobody may draw from it, set or alter it: see src/host/arrival.rs. A
-- sequence, because a rollback must not take it back, and nobody is to wait for whoever has written it.
CREATE SEQUENCE webhook.arrival_seq AS bigint;
COMMENT ON SEQUENCE webhook.arrival_seq IS 'private: in a copy, the transaction that its own events begin with';
