-- Delivery $1, whose event transaction $2 wrote, is to be sent again in its place, if it is a dead letter that has one: then the worker is
-- asked for that, unless it has been.
WITH dead AS (
    SELECT p.id, p.xid
    FROM webhook.pending AS p
    WHERE p.id = $1
      AND p.xid = $2::text::xid8
      AND p.stage = 2
      AND p.failure IS NULL
      AND p.payload <> ''
      AND EXISTS (SELECT FROM webhook.place AS o WHERE o.delivery = p.id)
), asked AS (
    INSERT INTO webhook.closed (delivery, xid, how, settled)
    SELECT d.id, d.xid, 'rearmed', false FROM dead AS d
    ON CONFLICT DO NOTHING
    RETURNING delivery
)
SELECT a.delivery FROM asked AS a
UNION ALL
SELECT c.delivery FROM webhook.closed AS c JOIN dead AS d ON d.id = c.delivery AND d.xid = c.xid WHERE c.how = 'rearmed'
