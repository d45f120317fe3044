-- Jobs: what somebody wants done with many deliveries, which the worker does. The rules that they keep are written at the head of
-- src/worker/jobs.rs.

-- Insert-only for users, as webhook.stopped is, so that none of their open transactions makes the worker wait.
CREATE TABLE webhook.job (
    -- Drawn as that of a delivery: none that it covers has an id as large as this.
    id         bigint PRIMARY KEY,
    kind       text NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['cancel', 'replay', 'erase'])),
    -- uuid of the one that it was asked for; NULL for all that the caller managed
    webhook_id uuid,
    -- those that it is for, in this order
    webhooks   integer[] NOT NULL,
    since      timestamptz,
    until      timestamptz,
    -- of the deliveries; any, where NULL
    status     text,
    -- What it covers: see src/domain/job.rs.
    first      bigint NOT NULL,
    "end"      bigint NOT NULL,
    seen       pg_snapshot NOT NULL,
    caller     xid8 NOT NULL,
    -- who has asked for it
    role       oid NOT NULL,
    -- Times are by the clock that webhook.pending goes by.
    asked_at   timestamptz NOT NULL DEFAULT webhook.queue_time(),
    began_at   timestamptz,
    ended_at   timestamptz,
    -- how it has ended: NULL before that
    result     text CHECK (result OPERATOR(pg_catalog.=) ANY (ARRAY['done', 'stopped', 'failed'])),
    -- or, before that, what it waits for
    error      text,
    -- How far it is: at which step (see src/queue/jobs.rs), at which of its webhooks, or 0 for all at once, and behind which
    -- transaction and id there.
    step       integer NOT NULL DEFAULT 1,
    position   integer NOT NULL DEFAULT 1,
    place_xid  xid8 NOT NULL DEFAULT '0',
    place      bigint NOT NULL,
    -- Deliveries that it has looked at, done something about, and left out.
    seen_rows  bigint NOT NULL DEFAULT 0,
    done       bigint NOT NULL DEFAULT 0,
    skipped    bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE webhook.job IS 'private: what somebody wants done with many deliveries';

CREATE TABLE webhook.stopped (
    job  bigint PRIMARY KEY,
    role oid NOT NULL
);
COMMENT ON TABLE webhook.stopped IS 'private: jobs that somebody has stopped';

-- Where it goes on when it has come to the end: with webhooks that nothing more could be replayed for.
CREATE TABLE webhook.job_aside (
    job       bigint NOT NULL,
    -- as in webhook.job
    step      integer NOT NULL,
    position  integer NOT NULL,
    place_xid xid8 NOT NULL,
    place     bigint NOT NULL,
    PRIMARY KEY (job, step, position)
);
COMMENT ON TABLE webhook.job_aside IS 'private: what jobs that have not ended have left aside, because its webhook has no room';

-- Apart from it, so that logical decoding does not see it: it may be what is to be forgotten.
CREATE TABLE webhook.job_path (
    job  bigint PRIMARY KEY,
    path jsonpath NOT NULL
);
COMMENT ON TABLE webhook.job_path IS 'private: what jobs that have not ended look for in bodies';

CREATE FUNCTION webhook.finds(body text, path jsonpath) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    document jsonb;
BEGIN
    BEGIN
        -- a character that jsonb does not have
        document := replace(body, E'\\u0000', E'\\ufffd')::jsonb;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        RETURN NULL;
    END;
    RETURN EXISTS (SELECT FROM jsonb_path_query(document, path, '{}', true) AS f (item) WHERE f.item NOT IN ('false', 'null'));
END
$$;
COMMENT ON FUNCTION webhook.finds IS
    'private: whether the path finds anything in a body but false and null, so that a predicate counts by its value; null where that is no jsonb';

CREATE VIEW webhook.work AS
SELECT j.*, EXISTS (SELECT FROM webhook.stopped AS s WHERE s.job = j.id) AS stopped
FROM webhook.job AS j
WHERE j.result IS NULL;
COMMENT ON VIEW webhook.work IS 'private: the jobs that have not ended';
