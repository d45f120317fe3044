-- Of deliveries $1, whose events transactions $2 wrote, those in the backlog are never due again: as many as have
-- $3 bytes of bodies, and one more. Not by UPDATE, which
-- shows bodies to logical decoding.
WITH chosen AS (
    SELECT
        p.id, p.xid,
        sum(octet_length(p.payload)) OVER (ORDER BY p.id) - octet_length(p.payload) AS before
    FROM unnest($1, $2) AS u (id, xid)
    JOIN webhook.pending AS p ON p.id = u.id AND p.xid = u.xid
    WHERE p.stage <> 3
), shelved AS (
    DELETE FROM webhook.pending AS p
    USING chosen AS u
    WHERE p.id = u.id AND p.xid = u.xid AND u.before < $3
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        p.stage AS was, 3::smallint AS stage,
        p.status_code, p.duration_us, p.error, p.error_class, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.keys, p.imported,
        p.dead_at
), put AS MATERIALIZED (
    SELECT shelved.webhook, shelved.was, shelved.stage, webhook.put('pending', shelved, 'was') FROM shelved
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, p.was, p.stage, count(*) FROM put AS p WHERE p.was <> p.stage GROUP BY p.webhook, p.was, p.stage
)
SELECT FROM put
