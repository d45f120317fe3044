-- Writes the events of webhook $1 into the ring once more, as replay.sql does: those of deliveries that
-- were made in [$2, $3) and have status $4. Dead letters are found in the backlog without a search of
-- the log, and each is replayed once. Not those that are to be transformed: see untransformed_all.sql.
WITH dead AS (
    SELECT p.id, p.xid, p.event_type, p.schema_name, p.table_name, p.event_id, p.payload
    FROM webhook.pending AS p
    WHERE $4 = 'dead'
      AND p.webhook = $1
      AND p.next_at = 'infinity'
      AND p.failure IS NULL
      AND (p.created_at >= $2) IS NOT FALSE
      AND (p.created_at < $3) IS NOT FALSE
      AND NOT EXISTS (SELECT FROM webhook.closed AS c WHERE c.delivery = p.id AND c.xid = p.xid)
), closed AS (
    INSERT INTO webhook.closed (delivery, xid, how, settled)
    SELECT id, xid, 'replayed', true FROM dead
    ON CONFLICT DO NOTHING
    RETURNING delivery
), original AS (
    SELECT d.id, d.event_type, d.schema_name, d.table_name, d.event_id, d.payload
    FROM dead AS d
    JOIN closed AS c ON c.delivery = d.id
    UNION ALL
    SELECT d.id, d.event_type, d.schema_name, d.table_name, d.event_id, d.payload
    FROM webhook.delivery AS d
    WHERE $4 <> 'dead'
      AND d.webhook = $1
      AND d.status = $4
      AND d.event_type <> 'TEST'
      AND d.failure IS NULL
      AND (d.created_at >= $2) IS NOT FALSE
      AND (d.created_at < $3) IS NOT FALSE
), replay AS (
    SELECT
        pg_current_xact_id() AS xid, webhook.next_id() AS id, clock_timestamp() AS created_at, $1 AS webhook, r.slot,
        o.event_type, o.schema_name, o.table_name, coalesce(o.event_id, format('evt_%s_%s', i.id, o.id)) AS event_id,
        o.payload
    FROM original AS o
    CROSS JOIN webhook.ring AS r
    CROSS JOIN webhook.installation AS i
    ORDER BY o.id
)
SELECT webhook.put('event_' || replay.slot, replay) FROM replay
