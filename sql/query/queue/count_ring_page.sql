-- How many there are of the next $2 events of the ring behind transaction $4 and id $3 that job $1 may be for: those that erase_ring_page.sql
-- has looked at where it has come to the end.
SELECT count(*) AS count
FROM (
    SELECT
    FROM webhook.event AS e
    WHERE (e.xid, e.id) > ($4, $3)
      AND e.xid < (
          SELECT greatest(pg_snapshot_xmax(j.seen), (j.caller::text::bigint + 1)::text::xid8)
          FROM webhook.job AS j
          WHERE j.id = $1
      )
    ORDER BY e.xid, e.id
    LIMIT $2
) AS p
