-- Events $1 of transactions $2, which wait, become dead letters for reasons $3, at $4. Returns those that did. Not by UPDATE,
-- which shows bodies to logical decoding.
WITH shed AS (
    DELETE FROM webhook.pending AS p
    USING unnest($1, $2, $3) AS u (id, xid, reason)
    WHERE p.id = u.id
      AND p.xid = u.xid
      -- Not the first of a key, behind which others are held.
      AND CASE
          WHEN p.stage = 4 THEN true
          ELSE p.next_at < 'infinity' AND NOT EXISTS (SELECT FROM webhook.place AS o WHERE o.delivery = p.id)
      END
      AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid)
    RETURNING
        p.webhook, p.webhook_id, 'infinity'::timestamptz AS next_at, p.id, p.xid, p.created_at, p.first_attempt_at, p.attempts,
        p.stage AS was, 2::smallint AS stage,
        p.status_code, p.duration_us, u.reason AS error, p.response_body,
        p.event_type, p.schema_name, p.table_name, p.event_id, p.payload, p.failure, p.event_slot, p.keys, p.imported,
        $4 AS dead_at
), put AS MATERIALIZED (
    SELECT shed.webhook, shed.was, shed.stage, shed.id, webhook.put('pending', shed, 'was') FROM shed
), counted AS (
    INSERT INTO webhook.movement (webhook, was, stage, count)
    SELECT p.webhook, p.was, p.stage, count(*) FROM put AS p WHERE p.was <> p.stage GROUP BY p.webhook, p.was, p.stage
)
SELECT p.id FROM put AS p
